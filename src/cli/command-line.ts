/**
 * The command line of `byteproxy`: finds the command, runs it, and reports what failed.
 * Invariant: only the code that a command needs is loaded. The result is an exit code, 0, 1 or 2. With `--json`, a failure is JSON on
 * stdout, and its text is on stderr as always.
 */
import { Command, CommanderError } from "commander";
import type { StartOptions } from "../start/read-configuration.ts";
import { version } from "../version.ts";
import { addAuditCommand } from "./audit.ts";
import { CliFailure, type ExitCode } from "./cli-failure.ts";
import { addCompletionCommand } from "./completion.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addExplainCommand } from "./explain.ts";
import { addInitCommand } from "./init.ts";
import { addKeysCommand } from "./keys.ts";
import { addLoginCommand } from "./login.ts";
import { addLogsCommand } from "./logs.ts";
import { withJson } from "./options.ts";
import { handleClosedPipes, oneLine, printJson } from "./output.ts";
import { addProxyCommand } from "./proxy.ts";
import { addQuotaCommand } from "./quota.ts";
import { addReloadCommand } from "./reload.ts";
import { addServicesCommand } from "./services.ts";
import { addStartCommand } from "./start-command.ts";
import { addStatusCommand } from "./status.ts";
import { describeWrongUse } from "./wrong-use.ts";

/** Starts the gateway, which then runs until the process ends. @throws CliFailure */
export type StartGateway = (options: StartOptions) => Promise<void>;

export async function runCommandLine(typed: readonly string[], start: StartGateway): Promise<ExitCode> {
  // `colors.ts` reads it; it may be anywhere.
  const words = typed.filter((word) => word !== "--no-color");
  let exitCode: ExitCode = 0;
  const program = createProgram(async (command) => {
    exitCode = await command();
  }, start);
  // `byteproxy --port 3000` starts the gateway, too.
  const [first = "start", ...rest] = START_OPTION.test(words[0] ?? "") ? ["start", ...words] : words;
  if (first !== "start" && first !== "proxy") handleClosedPipes();
  try {
    await program.parseAsync([first, ...rest], { from: "user" });
    return exitCode;
  } catch (error) {
    // Help or version, as requested.
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = error instanceof CommanderError ? describeWrongUse(program, words, error) : error;
    if (!(failure instanceof CliFailure)) throw failure;
    if (words.includes("--json")) printJson(failure.body);
    process.stderr.write(`${failure.lines.map(oneLine).join("\n")}\n`);
    return failure.exitCode;
  }
}

const START_OPTION = /^--(?:port|host)(?:=|$)/;

/** Runs a command that has an exit code of its own. */
export type RunCommand = (command: () => Promise<ExitCode>) => Promise<void>;

/** All commands. */
export function createProgram(run: RunCommand, start: StartGateway): Command {
  const program = new Command("byteproxy")
    .description("The authenticating reverse proxy ByteProxy. Without a command, it starts the gateway.")
    .version(version.version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help, or the help of a command")
    .exitOverride()
    // Commander's own messages are replaced by those of describeWrongUse.
    .configureOutput({ outputError: () => {}, writeErr: () => {} })
    .addHelpText("after", EXAMPLES);

  program.commandsGroup("Start:");
  addStartCommand(program, start);
  addProxyCommand(program, start);
  addInitCommand(program);

  program.commandsGroup("Look:");
  addCheckCommand(program, run);
  addDoctorCommand(program, run);
  addStatusCommand(program);
  addLogsCommand(program);
  addExplainCommand(program);
  addQuotaCommand(program);
  addAuditCommand(program);

  program.commandsGroup("Change:");
  addServicesCommand(program);
  addKeysCommand(program);
  addLoginCommand(program);
  addReloadCommand(program);

  program.commandsGroup("Shell:");
  addCompletionCommand(program);
  program.helpCommand("help [command]", "print the help of a command");
  return program;
}

function addCheckCommand(program: Command, run: RunCommand): void {
  withJson(program.command("check"))
    .description("validate the configuration, or a services file, without starting; exit code 0 or 2")
    .argument("[file]", "services file to use instead of CONFIG_FILE")
    .addHelpText("after", CHECK_EXAMPLES)
    .action((file: string | undefined, { json = false }: { json?: boolean }) =>
      run(async () => {
        const { check } = await import("./check.ts");
        const { text, exitCode } = await check(file, json);
        (json || exitCode === 0 ? process.stdout : process.stderr).write(`${text}\n`);
        return exitCode;
      }),
    );
}

const CHECK_EXAMPLES = `
It reads the same files and variables as a start, contacts no upstream, and lists all problems at once.

Examples:
  byteproxy check
  byteproxy check config/new-services.json`;

const EXAMPLES = `
Examples:
  byteproxy                                     start the gateway, by default on http://localhost:3420
  byteproxy start --port 3000                   the same on another port
  byteproxy proxy https://api.github.com --token-env GITHUB_TOKEN
  byteproxy init                                create a first configuration, with keys, in this folder
  byteproxy doctor                              find problems and their fixes, even if the gateway does not start
  byteproxy explain GET /proxy/github/user      what the gateway would do with a request, and why
  byteproxy logs --follow                       show requests as they finish
  byteproxy services add weather --base-url https://api.weather.example/v2/
  KEY=$(byteproxy keys create --name ci --permissions 'github:read')

Each command has --help. On a terminal the output has colors: NO_COLOR=1 or --no-color turns them off.
Exit codes: 0 done; 1 failed; 2 wrong use or configuration.`;
