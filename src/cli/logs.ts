/** `byteproxy logs`: the last requests of a running gateway, and those that follow. */
import { type Command, InvalidArgumentError } from "commander";
import { ABOUT_THE_GATEWAY, withGateway } from "./options.ts";
import { printNote } from "./output.ts";
import { createLines, type LogsOptions, listRequests } from "./recorded-requests.ts";

/** What the gateway keeps. */
const MOST = 1_000;

const DEFAULT_LIMIT = 50;

export function addLogsCommand(program: Command): void {
  withGateway(program.command("logs"))
    .description("show the last requests of the running gateway, the newest last; --json prints one object per line")
    .option("-f, --follow", "also show requests as they finish, until Ctrl-C")
    .option("--service <key>", "only requests for this service")
    .option("--status <status>", "only requests with this status, like 429, or class, like 5xx")
    .option("--limit <number>", `so many of the last requests, at most ${MOST}`, readLimit, DEFAULT_LIMIT)
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(showLogs);
}

const EXAMPLES = `
Examples:
  byteproxy logs --follow
  byteproxy logs --service github --status 5xx
  byteproxy logs --follow --limit 0 --json | jq 'select(.durationUs > 1000000)'`;

/** @throws InvalidArgumentError */
function readLimit(text: string): number {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (limit <= MOST) return limit;
  throw new InvalidArgumentError(`Allowed: a number from 0 to ${MOST}.`);
}

async function showLogs(options: LogsOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  const client = openGatewayClient(options.url);
  if (options.follow === true) {
    const { followLogs } = await import("./follow-logs.ts");
    return followLogs(client, options);
  }
  const { limit } = options;
  const requests = await listRequests(client, options, Math.max(1, limit));
  const lineOf = createLines(options);
  for (const request of limit === 0 ? [] : requests) process.stdout.write(lineOf(request));
  if (requests.length === 0 && options.json !== true) printNote("The gateway has no such request since its start.");
}
