/** `byteproxy start`: starts the gateway with the configuration of this folder. */
import type { Command } from "commander";
import type { StartOptions } from "../start/read-configuration.ts";

interface AddressOptions {
  readonly port?: string;
  readonly host?: string;
}

export function addStartCommand(program: Command, start: (options: StartOptions) => Promise<void>): void {
  withStartOptions(program.command("start"))
    .description(
      "start the gateway with the configuration of this folder: environment, .env, .env.local, services file",
    )
    .option("--host <address>", "address to listen on, instead of HOST")
    .addHelpText("after", EXAMPLES)
    .action((options: AddressOptions) => start({ commandLine: addressVariables(options) }));
}

const EXAMPLES = `
Ctrl-C, or SIGTERM, ends it after the requests in flight.

Examples:
  byteproxy start
  byteproxy start --port 3000
  byteproxy start --host 0.0.0.0      for other machines, with PROXY_API_KEY and MANAGEMENT_API_KEY set`;

/** The options of the commands that start a gateway. */
export function withStartOptions(command: Command): Command {
  return command
    .option("--port <number>", "port to listen on, instead of PORT")
    .option("--json", "print the reason of a failed start as JSON on stdout");
}

/** The variables that the options replace. */
export function addressVariables({ port, host }: AddressOptions): Readonly<Record<string, string>> {
  return { ...(port === undefined ? {} : { PORT: port }), ...(host === undefined ? {} : { HOST: host }) };
}
