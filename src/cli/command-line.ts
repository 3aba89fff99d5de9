/**
 * The command line of `byteproxy`: finds the command, runs it, and explains wrong use.
 * Invariant: only the code that a command needs is loaded. The result is an exit code, 0, 1 or 2. The value of a refused option is
 * never repeated: it may be a secret in the wrong place.
 */
import { Command, CommanderError } from "commander";
import { plural } from "../plural.ts";
import { version } from "../version.ts";
import { CliFailure, type ExitCode } from "./cli-failure.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addInitCommand } from "./init.ts";
import { addKeysCommand } from "./keys.ts";
import { withJson } from "./options.ts";
import { handleClosedPipes, oneLine, printJson } from "./output.ts";
import { addServicesCommand } from "./services.ts";

/** Starts the gateway, which then runs until the process ends. @param variables take precedence over all others. */
export type StartGateway = (variables: Readonly<Record<string, string>>) => Promise<void>;

export async function runCommandLine(typed: readonly string[], start: StartGateway): Promise<ExitCode> {
  // `colors.ts` reads it; it may be anywhere.
  const words = typed.filter((word) => word !== "--no-color");
  let exitCode: ExitCode = 0;
  const program = createProgram(async (command) => {
    exitCode = await command();
  }, start);
  // `byteproxy --port 3000` starts the gateway, too.
  const [first = "start", ...rest] = START_OPTION.test(words[0] ?? "") ? ["start", ...words] : words;
  if (first !== "start") handleClosedPipes();
  try {
    await program.parseAsync([first, ...rest], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return explainWrongUse(program, words, error);
    if (!(error instanceof CliFailure)) throw error;
    if (words.includes("--json") && error.responseBody !== undefined) printJson(error.responseBody);
    process.stderr.write(`${error.lines.map(oneLine).join("\n")}\n`);
    return error.exitCode;
  }
}

const START_OPTION = /^--(?:port|host)(?:=|$)/;

/** Runs a command that has an exit code of its own. */
type RunCommand = (command: () => Promise<ExitCode>) => Promise<void>;

function createProgram(run: RunCommand, start: StartGateway): Command {
  const program = new Command("byteproxy")
    .description("The authenticating reverse proxy ByteProxy. Without a command, it starts the gateway.")
    .version(version.version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help, or the help of a command")
    .exitOverride()
    // Commander's own messages are replaced by those of explainWrongUse.
    .configureOutput({ outputError: () => {} })
    .addHelpText("after", EXAMPLES);

  program
    .command("start")
    .description(
      "start the gateway with the configuration of this folder: environment, .env, .env.local, services file",
    )
    .option("--port <number>", "port to listen on, instead of PORT")
    .option("--host <address>", "address to listen on, instead of HOST")
    .action(({ port, host }: { readonly port?: string; readonly host?: string }) =>
      start({ ...(port === undefined ? {} : { PORT: port }), ...(host === undefined ? {} : { HOST: host }) }),
    );

  addInitCommand(program);
  addCheckCommand(program, run);
  addDoctorCommand(program, run);
  addServicesCommand(program);
  addKeysCommand(program);
  return program;
}

function addCheckCommand(program: Command, run: RunCommand): void {
  withJson(program.command("check"))
    .description("validate the configuration, or a services file, without starting; exit code 0 or 2")
    .argument("[file]", "services file to use instead of CONFIG_FILE")
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
  byteproxy                                     start the gateway, by default on http://localhost:3420
  byteproxy start --port 3000                   the same on another port
  byteproxy init                                create a first configuration, with keys, in this folder
  byteproxy check                               validate the configuration
  byteproxy doctor                              find problems and their fixes, even if the gateway does not start
  byteproxy services add weather --base-url https://api.weather.example/v2/
  KEY=$(byteproxy keys create --name ci --permissions 'github:read')

On a terminal the output has colors: NO_COLOR=1 or --no-color turns them off.
Exit codes: 0 done; 1 failed; 2 wrong use or configuration.`;

function explainWrongUse(program: Command, words: readonly string[], error: CommanderError): ExitCode {
  // Help or version, as requested.
  if (error.exitCode === 0) return 0;
  // A group without a command: commander has printed its help on stderr.
  if (error.code === "commander.help") return 2;
  const command = commandOf(program, words);
  process.stderr.write(`${describeWrongUse(nameOf(command), error)}\n\n${usageOf(command)}`);
  return 2;
}

function describeWrongUse(name: string, { code, message }: CommanderError): string {
  const [text = "", suggestion] = message.replace(/^error: /, "").split("\n");
  const hint = suggestion === undefined ? "" : ` ${suggestion}`;
  const under = name.replace(/^byteproxy ?/, "");
  switch (code) {
    case "commander.unknownCommand":
    case "commander.unknownOption":
      return `Unknown: ${[under, /'([^'=]*)/.exec(text)?.[1]].join(" ").trim()}${hint}`;
    case "commander.excessArguments":
      return describeExcess(name, text);
    default:
      // Commander writes `argument '<the typed value>' is invalid`.
      return `${name}: ${text.replace(/ argument '.*' is invalid\./s, " is not valid.")}`;
  }
}

/** Commander writes `Expected 1 argument but got 2.` */
function describeExcess(name: string, text: string): string {
  const [, allowed = "0", given = "more"] = /Expected (\d+) arguments? but got (\d+)/.exec(text) ?? [];
  const limit = allowed === "0" ? "no arguments" : `at most ${plural(Number(allowed), "argument")}`;
  return `${name} takes ${limit}, but got ${given}.`;
}

/** The command that the words name. */
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

/** The whole help of a group, to choose from; one line for a command. */
function usageOf(command: Command): string {
  if (command.commands.length > 0) return command.helpInformation();
  return `Usage: ${nameOf(command)} ${command.usage()}\n\nFor more, run ${nameOf(command)} --help.\n`;
}
