/** `byteproxy quota`: what the upstreams still allow, from GET /manage/quota. */
import type { Command } from "commander";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { printJson, printLine, printTable, showSeconds } from "./output.ts";

export function addQuotaCommand(program: Command): void {
  withGateway(program.command("quota"))
    .description("show how many requests the upstreams still allow, by service, credential and bucket")
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(showQuota);
}

const EXAMPLES = `
The gateway learns a quota from the responses of the upstream. The table shows the state after the last response.

Examples:
  byteproxy quota
  byteproxy quota --json | jq '.services[] | {service, upstreamRefusals}'`;

interface QuotaList {
  readonly services: readonly {
    readonly service: string;
    readonly mode: string;
    readonly waiting: number;
    readonly credentials: readonly Credential[];
  }[];
  readonly count: number;
}

interface Credential {
  /** Null for requests without a credential. */
  readonly source: string | null;
  readonly closedUntil: string | null;
  readonly waiting: number;
  readonly buckets: readonly {
    readonly bucket: string;
    readonly closedUntil: string | null;
    readonly waiting: number;
    readonly windows: readonly {
      readonly name: string;
      readonly limit: number | null;
      readonly remaining: number;
      /** s */
      readonly resetIn: number;
    }[];
  }[];
}

interface Row {
  readonly cells: string[];
  readonly isExhausted: boolean;
}

async function showQuota({ url, json }: CommonOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  const list = await openGatewayClient(url).ask<QuotaList>("GET", "/manage/quota", { members: ["services", "count"] });
  if (json) return printJson(list);
  const rows = list.services.flatMap(({ service, mode, waiting, credentials }) => {
    const name = `${service} (${mode})`;
    // Those that wait for any credential of a pool are counted for none of them.
    const pooled = waiting - credentials.reduce((sum, each) => sum + each.waiting, 0);
    const ofPool: Row[] =
      pooled > 0 ? [{ cells: [name, "any of the pool", "-", "-", "-", String(pooled), "-"], isExhausted: true }] : [];
    return [...ofPool, ...credentials.flatMap((credential) => rowsOf(name, credential))];
  });
  if (rows.length === 0) {
    return printLine("No quota is known yet: the gateway learns it from the responses of the upstreams.");
  }
  printTable(
    ["SERVICE (MODE)", "CREDENTIAL", "BUCKET", "REMAINING", "RESET IN", "WAITING", "STATE"],
    rows.map(({ cells }) => cells),
    (row, column) => (rows[row]?.isExhausted && column >= 3 ? "yellow" : undefined),
  );
}

/** One row for each window of each bucket; a bucket without windows has one row. */
function rowsOf(service: string, { source, closedUntil: all, waiting, buckets }: Credential): Row[] {
  const who = source ?? "none";
  const state = (until: string | null) => (until === null ? "open" : `closed until ${until}`);
  if (buckets.length === 0) {
    return [{ cells: [service, who, "-", "-", "-", String(waiting), state(all)], isExhausted: all !== null }];
  }
  return buckets.flatMap(({ bucket, closedUntil, waiting: held, windows }) => {
    const until = closedUntil ?? all;
    const row = (name: string, remaining: string, reset: string, isEmpty: boolean): Row => ({
      cells: [service, who, name, remaining, reset, String(held), state(until)],
      isExhausted: isEmpty || until !== null,
    });
    if (windows.length === 0) return [row(bucket || "-", "-", "-", false)];
    return windows.map(({ name, limit, remaining, resetIn }) =>
      row(
        [bucket, name].filter((part) => part !== "").join(" ") || "-",
        limit === null ? String(remaining) : `${remaining} of ${limit}`,
        showSeconds(resetIn),
        remaining <= 0,
      ),
    );
  });
}
