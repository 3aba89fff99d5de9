/**
 * The words after `byteproxy`: which command they are, and what is said of those that are none.
 * Invariant: only what a command needs is loaded; its outcome is an exit code, 0, 1 or 2; and no value of an option is repeated
 * where it was refused: it may be a secret in the wrong place.
 */
import { Command, CommanderError } from "commander";
import { version } from "../version.ts";
import type { DiagnoseAtRest } from "./checks-at-rest.ts";
import { CliFailure, type ExitCode } from "./cli-failure.ts";
import { withJson } from "./common-options.ts";
import { addDoctorCommand } from "./doctor-command.ts";
import { addInitCommand } from "./init-command.ts";
import { addKeysCommand } from "./keys-command.ts";
import { outliveClosedPipes, sayJson } from "./output.ts";
import { addServicesCommand } from "./services-command.ts";

/** What comes from where gateways are made and processes are ended. */
export interface GatewayWork {
  /** Runs the gateway. */
  readonly start: () => Promise<ExitCode>;
  readonly diagnoseAtRest: DiagnoseAtRest;
}

export async function runCommandLine(words: readonly string[], work: GatewayWork): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = createProgram(async (command) => {
    exitCode = await command();
  }, work);
  const [first = "start", ...rest] = words;
  if (first !== "start") outliveClosedPipes();
  try {
    await program.parseAsync([first, ...rest], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return explainWrongUse(program, words, error);
    if (!(error instanceof CliFailure)) throw error;
    if (words.includes("--json") && error.answer !== undefined) sayJson(error.answer);
    process.stderr.write(`${error.lines.join("\n")}\n`);
    return error.exitCode;
  }
}

type RunCommand = (command: () => Promise<ExitCode>) => Promise<void>;

/** @param run takes up the exit code of a command that has one. */
function createProgram(run: RunCommand, { start, diagnoseAtRest }: GatewayWork): Command {
  const program = new Command("byteproxy")
    .description("The authenticating reverse proxy ByteProxy. Without a command it starts.")
    .version(version.version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this, or the help of a command")
    .exitOverride()
    // It is said in explainWrongUse.
    .configureOutput({ outputError: () => {} })
    .addHelpText("after", EXAMPLES);

  program
    .command("start")
    .description("start the gateway of this folder: environment, .env, .env.local, config/services.json")
    .action(() => run(start));

  addInitCommand(program);
  addCheckCommand(program, run);
  addDoctorCommand(program, run, diagnoseAtRest);
  addServicesCommand(program);
  addKeysCommand(program);
  return program;
}

function addCheckCommand(program: Command, run: RunCommand): void {
  withJson(program.command("check"))
    .description(
      "say what a start would say of the configuration, or of a services file, without starting; exit code 0 or 2",
    )
    .argument("[file]", "services file, in the place of CONFIG_FILE")
    .action((file: string | undefined, { json = false }: { json?: boolean }) =>
      run(async () => {
        const { check } = await import("./check.ts");
        const { text, exitCode } = await check(file, json);
        (json || exitCode === 0 ? process.stdout : process.stderr).write(`${text}\n`);
        return exitCode;
      }),
    );
}

const EXAMPLES = `
Examples:
  byteproxy                                     start, on http://127.0.0.1:3420 where nothing else is configured
  byteproxy init                                a first configuration, with keys, in this folder
  byteproxy check                               is the configuration sound?
  byteproxy doctor                              what is wrong, and the mend; also where the gateway does not start
  byteproxy services add weather --base-url https://api.weather.example/v2/
  KEY=$(byteproxy keys create --name ci --permissions 'github:read')

Exit codes: 0 done; 1 failed; 2 wrong use or configuration.`;

/** Help and version that were asked for are no wrong use. */
function explainWrongUse(program: Command, words: readonly string[], error: CommanderError): ExitCode {
  if (error.exitCode === 0) return 0;
  // A group without its command: its help is on stderr by now.
  if (error.code === "commander.help") return 2;
  const command = commandOf(program, words);
  process.stderr.write(`${wrongUse(nameOf(command), error)}\n\n${usageOf(command)}`);
  return 2;
}

function wrongUse(name: string, { code, message }: CommanderError): string {
  const [said = "", suggestion] = message.replace(/^error: /, "").split("\n");
  const hint = suggestion === undefined ? "" : ` ${suggestion}`;
  const under = name.replace(/^byteproxy ?/, "");
  switch (code) {
    case "commander.unknownCommand":
    case "commander.unknownOption":
      return `Unknown: ${[under, /'([^'=]*)/.exec(said)?.[1]].join(" ").trim()}${hint}`;
    case "commander.excessArguments":
      return `Unknown: ${under} with ${said}`;
    default:
      // `argument 'what was typed' is invalid`
      return `${name}: ${said.replace(/ argument '.*' is invalid\./s, " is not valid.")}`;
  }
}

/** The command that the words led to. */
function commandOf(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) return command;
    command = next;
  }
  return command;
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

/** All of it for a group, to choose from; one line for a command. */
function usageOf(command: Command): string {
  if (command.commands.length > 0) return command.helpInformation();
  return `Usage: ${nameOf(command)} ${command.usage()}\n\n${nameOf(command)} --help tells more.\n`;
}
