/**
 * `byteproxy logs --follow`: reads the events of a gateway until Ctrl-C, or until the reader of stdout has left.
 * Invariant: the list is read after the stream has begun, so that no request between the two is missed; after a lost connection
 * the list fills the gap, as far as it reaches back.
 */
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { isObject } from "../is-object.ts";
import { CliFailure } from "./cli-failure.ts";
import { readEvents } from "./event-stream.ts";
import { type GatewayClient, NoGateway } from "./gateway-client.ts";
import { printNote } from "./output.ts";
import { createLines, type LogsOptions, listRequests, queryOf, type RecordedRequest } from "./recorded-requests.ts";

/** Between two attempts to connect, ms; doubled each time. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** What the gateway keeps. */
const WHOLE_LIST = 1_000;

/** Requests that were printed last: none of them is printed again. */
const REMEMBERED = 4_000;

/** Refusals that end by themselves. */
const TEMPORARY = ["SHUTTING_DOWN", "UNDER_PRESSURE"];

/** Resolves when it was stopped. @throws CliFailure where the gateway cannot be followed, or no longer. */
export async function followLogs(client: GatewayClient, options: LogsOptions): Promise<void> {
  const stop = stopSignal();
  const printer = new Printer(options, stop);
  let pauseMs = FIRST_PAUSE_MS;
  let hasConnected = false;
  while (!stop.aborted) {
    try {
      await followOnce({ client, options, printer, stop }, () => {
        if (hasConnected) printNote(`Connected to ${client.url} again.`);
        hasConnected = true;
        pauseMs = FIRST_PAUSE_MS;
      });
    } catch (error) {
      if (stop.aborted) return;
      if (!hasConnected || !isTemporary(error)) throw error;
    }
    if (stop.aborted) return;
    if (pauseMs === FIRST_PAUSE_MS) printNote(`The connection to ${client.url} was lost. Trying again.`);
    await setTimeout(pauseMs, undefined, { signal: stop }).catch(() => {});
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

interface Following {
  readonly client: GatewayClient;
  readonly options: LogsOptions;
  readonly printer: Printer;
  readonly stop: AbortSignal;
}

/** Until the stream ends. */
async function followOnce({ client, options, printer, stop }: Following, onConnected: () => void): Promise<void> {
  const { service, status } = options;
  const stream = await client.follow(`/manage/events${queryOf({ service, status })}`, stop);
  // Without a listener, an error before the first reading would end the process.
  stream.on("error", () => {});
  try {
    await printer.printList(await listRequests(client, options, WHOLE_LIST));
    onConnected();
    for await (const { name, data } of readEvents(stream)) {
      if (name === "request") await printer.print(data as unknown as RecordedRequest);
      else if (name === "lost")
        printNote(`${String(data.count)} events were lost here: they were not read fast enough.`);
    }
  } finally {
    stream.destroy();
  }
}

/** Prints each request once. */
class Printer {
  readonly #lineOf: (request: RecordedRequest) => string;
  readonly #limit: number;
  readonly #stop: AbortSignal;
  readonly #printed = new Set<string>();
  /** The time of the last request of the list or of the stream; undefined before the first list. */
  #latest: number | undefined;

  constructor(options: LogsOptions, stop: AbortSignal) {
    this.#lineOf = createLines(options);
    this.#limit = options.limit;
    this.#stop = stop;
  }

  /** Of the first list the end; of a later one what came while there was no connection. */
  async printList(list: readonly RecordedRequest[]): Promise<void> {
    const latest = this.#latest;
    this.#latest ??= 0;
    const skipped = latest === undefined ? list.length - this.#limit : 0;
    for (const [index, request] of list.entries()) {
      if (index < skipped) this.#note(request);
      else if (latest === undefined || request.time >= latest) await this.print(request);
    }
  }

  async print(request: RecordedRequest): Promise<void> {
    if (!this.#note(request)) return;
    // A slow reader of stdout slows the stream, of which the gateway then leaves out events; it does not fill the memory here.
    if (!process.stdout.write(this.#lineOf(request))) await once(process.stdout, "drain", { signal: this.#stop });
  }

  /** False if it was noted before. */
  #note({ time, requestId, durationUs }: RecordedRequest): boolean {
    this.#latest = Math.max(this.#latest ?? 0, time);
    const name = `${time} ${requestId} ${durationUs}`;
    if (this.#printed.has(name)) return false;
    this.#printed.add(name);
    for (const oldest of this.#printed) {
      if (this.#printed.size <= REMEMBERED) break;
      this.#printed.delete(oldest);
    }
    return true;
  }
}

function isTemporary(error: unknown): boolean {
  // The connection broke off.
  if (!(error instanceof CliFailure) || error instanceof NoGateway) return true;
  const { responseBody } = error;
  return isObject(responseBody) && TEMPORARY.includes(String(responseBody.code));
}

/** Aborted by Ctrl-C, SIGTERM, and a reader of stdout that has left. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  process.stdout.on("error", stop);
  return controller.signal;
}
