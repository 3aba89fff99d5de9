/** `byteproxy status`: the state of a running gateway and of its services, from GET /status. */
import type { Command } from "commander";
import { type Color, paintFor } from "../colors.ts";
import { plural } from "../plural.ts";
import { ABOUT_THE_GATEWAY, type CommonOptions, withGateway } from "./options.ts";
import { oneLine, printJson, printLines, printNote, printTable, showSeconds } from "./output.ts";

export function addStatusCommand(program: Command): void {
  withGateway(program.command("status"))
    .description("show the state of a running gateway: load, and each service's credential, breaker, limits and quota")
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action(showStatus);
}

const EXAMPLES = `
Without the management key, the output has no base URLs and no names of variables.

Examples:
  byteproxy status
  byteproxy status --json | jq '.services[] | select(.breaker.state == "open") | .key'`;

/** The printed members of the response. */
interface Status {
  readonly status: string;
  readonly version: string;
  /** s */
  readonly uptime: number;
  readonly services: readonly ServiceStatus[];
  readonly load: {
    readonly inFlight: Taken;
    readonly webSockets: Taken;
    readonly connections: readonly (Taken & { readonly listener: string; readonly service?: string })[];
    /** ms */
    readonly eventLoopDelay: number;
  };
  /** Undefined from an older gateway; null where limits are local to the process. */
  readonly store?: { readonly state: string; readonly fault: string | null; readonly replicas: number } | null;
  readonly memory: { readonly rssBytes: number; readonly heapUsedBytes: number; readonly heapLimitBytes: number };
}

interface Taken {
  readonly current: number;
  readonly limit: number | null;
}

interface ServiceStatus {
  readonly key: string;
  readonly credential: {
    readonly state: string;
    readonly required: boolean;
    readonly source?: string | null;
    readonly refused: { readonly count: number; readonly lastStatus: number } | null;
  };
  readonly rateLimit: {
    readonly maxRequests: number;
    readonly windowMs: number;
    readonly per: string;
    readonly remaining?: number;
    /** s */
    readonly resetIn?: number;
    readonly waiting?: number;
  } | null;
  readonly inFlight: Taken;
  readonly breaker: { readonly state: string; readonly retryAfter: number | null } | null;
  readonly quota: {
    readonly waiting: number;
    readonly tightest: {
      readonly bucket: string;
      readonly remaining: number;
      readonly limit: number | null;
      /** s */
      readonly resetIn: number;
    } | null;
  } | null;
}

async function showStatus({ url, json }: CommonOptions): Promise<void> {
  const { openGatewayClient } = await import("./gateway-client.ts");
  const client = openGatewayClient(url);
  const status = await client.ask<Status>("GET", "/status", { members: ["status", "services", "load", "memory"] });
  if (json) return printJson(status);
  printLines(describeGateway(client.url, status));
  const { services } = status;
  const colors = services.map(colorsOf);
  printTable(
    ["SERVICE", "CREDENTIAL", "IN FLIGHT", "BREAKER", "RATE LIMIT", "QUOTA"],
    services.map(rowOf),
    (row, column) => colors[row]?.[column],
  );
  if (services.some(({ credential }) => credential.state !== "none" && credential.source === undefined)) {
    printNote("Names of variables are left out: the gateway shows them to its management key, which it did not get.");
  }
}

function describeGateway(url: string, { status, version, uptime, load, store, memory }: Status): string[] {
  const paint = paintFor(process.stdout);
  const { inFlight, webSockets, connections, eventLoopDelay } = load;
  const total = connections.reduce((sum, { current }) => sum + current, 0);
  const state = paint(status === "ok" ? "green" : "yellow", oneLine(status));
  return [
    `${paint("bold", "ByteProxy")} ${oneLine(version)} at ${url}: ${state}, running for ${showSeconds(uptime)}`,
    `${plural(inFlight.current, "request")} in flight, ${plural(webSockets.current, "WebSocket")}, ${plural(total, "client connection")}; event loop delay ${eventLoopDelay.toFixed(1)} ms; memory ${mebibytes(memory.rssBytes)}, heap ${mebibytes(memory.heapUsedBytes)} of ${mebibytes(memory.heapLimitBytes)}`,
    ...(store === undefined || store === null ? [] : [describeStore(store)]),
    "",
  ];
}

function describeStore({ state, fault, replicas }: NonNullable<Status["store"]>): string {
  if (fault === null) return `rate limits are shared by ${plural(replicas, "gateway")}`;
  return paintFor(process.stdout)(
    "yellow",
    `the shared store is ${oneLine(state)} (${oneLine(fault)}): limits are local`,
  );
}

const mebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
const ofLimit = (limit: number | null) => (limit === null ? "" : ` of ${limit}`);

function rowOf({ key, credential, rateLimit, inFlight, breaker, quota }: ServiceStatus): string[] {
  return [
    key,
    describeCredential(credential),
    `${inFlight.current}${ofLimit(inFlight.limit)}`,
    breaker === null ? "off" : `${breaker.state}${breaker.retryAfter === null ? "" : ` for ${breaker.retryAfter} s`}`,
    describeRateLimit(rateLimit),
    describeQuota(quota),
  ];
}

function describeCredential({ state, source, refused }: ServiceStatus["credential"]): string {
  const named = state === "none" || source === undefined || source === null ? state : `${state}: ${source}`;
  return refused === null ? named : `${named}, refused ${refused.count} times with ${refused.lastStatus}`;
}

function describeRateLimit(limit: ServiceStatus["rateLimit"]): string {
  if (limit === null) return "-";
  const { maxRequests, windowMs, per, remaining, resetIn = 0, waiting = 0 } = limit;
  const window = showSeconds(windowMs / 1_000);
  const queue = waiting === 0 ? "" : `, ${waiting} waiting`;
  if (remaining === undefined) return `${maxRequests} in ${window} per ${per}${queue}`;
  return `${remaining} of ${maxRequests} left in ${showSeconds(resetIn || windowMs / 1_000)}${queue}`;
}

function describeQuota(quota: ServiceStatus["quota"]): string {
  if (quota === null) return "-";
  const waiting = quota.waiting === 0 ? "" : `, ${quota.waiting} waiting`;
  if (quota.tightest === null) return `not known yet${waiting}`;
  const { bucket, remaining, limit, resetIn } = quota.tightest;
  const name = bucket === "" ? "" : ` (${bucket})`;
  return `${remaining}${ofLimit(limit)} left for ${showSeconds(resetIn)}${name}${waiting}`;
}

/** By column. */
function colorsOf({ credential, breaker }: ServiceStatus): (Color | undefined)[] {
  const isOff = credential.state === "missing" && credential.required;
  const credentialColor = isOff || credential.refused !== null ? "yellow" : undefined;
  return ["bold", credentialColor, undefined, breaker === null || breaker.state === "closed" ? undefined : "red"];
}
