/** Options that several commands share, and what their help says of the key. */
import { type Command, Option } from "commander";
import { readUrl } from "./option-values.ts";

/** What every command that talks to a gateway takes. */
export function withGateway(command: Command): Command {
  return withJson(command).addOption(
    new Option("--url <url>", "address of the running gateway; default: as this folder's settings have it").argParser(
      readUrl,
    ),
  );
}

export function withOffline(command: Command): Command {
  return command.addOption(
    new Option("--offline", "change DATA_DIR itself, while no gateway runs on it").conflicts("url"),
  );
}

export function withJson(command: Command): Command {
  return command.option("--json", "the answer as JSON on stdout, and nothing else");
}

export const ABOUT_THE_GATEWAY = `
The gateway: http://127.0.0.1:3420, or as PORT and HOST (MANAGEMENT_PORT and MANAGEMENT_HOST) have it in the environment,
.env or .env.local of this folder; or --url. Its key is read from MANAGEMENT_API_KEY or MANAGEMENT_API_KEY_FILE there,
never from an option: the list of processes would show it.

Exit codes: 0 done; 1 refused, not reachable; 2 wrong use, or not valid.`;
