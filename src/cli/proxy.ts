/**
 * `byteproxy proxy <url>`: starts a gateway for one upstream, without a services file.
 * Invariant: without `--token-env`, no secret is sent. The folder for its state is removed when the process ends.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { StartOptions } from "../start/read-configuration.ts";
import type { ProxyOptions } from "./choose-upstream.ts";
import { printNote } from "./output.ts";
import { addressVariables, withStartOptions } from "./start-command.ts";

export function addProxyCommand(program: Command, start: (options: StartOptions) => Promise<void>): void {
  withStartOptions(program.command("proxy"))
    .description("start a gateway for one upstream, without a services file")
    .argument("<url>", "URL of the upstream, like https://api.github.com", readUpstream)
    .option("--token-env <name>", "environment variable that holds the upstream's secret")
    .option("--as <name>", "the service's key: clients send requests to /proxy/<name>/; default: from the URL")
    .addHelpText("after", EXAMPLES)
    .action((url: URL, options: ProxyOptions) => proxy(url, options, start));
}

const EXAMPLES = `
The secret is sent as "Authorization: Bearer", or as the API's recipe says (byteproxy services recipes). Without
--token-env, no secret is sent. PORT, the gateway's keys and all other variables are read from the environment, .env and
.env.local, as by byteproxy start; the services file is not read. The state is in a temporary folder, which is removed at
the end, unless DATA_DIR is set.

Examples:
  byteproxy proxy https://api.github.com --token-env GITHUB_TOKEN
  byteproxy proxy http://localhost:8080 --as app --port 3000`;

/** @throws InvalidArgumentError */
function readUpstream(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || /[?#]/.test(text) || url.username || url.password) {
    throw new InvalidArgumentError(
      "Allowed: an http or https URL without user info, query and fragment, like https://api.github.com.",
    );
  }
  return url;
}

async function proxy(url: URL, options: ProxyOptions, start: (options: StartOptions) => Promise<void>): Promise<void> {
  // Loaded only here: reading recipes needs zod.
  const { chooseUpstream } = await import("./choose-upstream.ts");
  const { service, hasDataDir, note } = chooseUpstream(url, options);
  if (note !== undefined) printNote(note);
  const commandLine = { ...addressVariables(options), ...(hasDataDir ? {} : { DATA_DIR: createTemporaryFolder() }) };
  await start({ commandLine, onlyService: service });
}

/** Mode 0700. */
function createTemporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-proxy-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  // A terminal that is closed sends SIGHUP, which would end the process without the line above.
  if (process.stdout.isTTY) process.on("SIGHUP", () => process.kill(process.pid, "SIGTERM"));
  return folder;
}
