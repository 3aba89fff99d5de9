/**
 * The log: pino for what is rare, and a line built by hand for each exchange.
 * Invariant: a line is an allow-list of fields; nothing of a request gets in that is not named here.
 */
import { fstatSync, writeSync } from "node:fs";
import { type DestinationStream, destination, type Level, type Logger as PinoLogger, pino, stdSerializers } from "pino";
import { createRecentErrors, isError, levelOf, type RecentErrors } from "./recent-errors.ts";
import { maskQuery, type SecretMask } from "./redact.ts";

export interface AccessLine {
  /** ms since the epoch. */
  readonly time: number;
  /** Letters, digits and punctuation that needs no escaping. */
  readonly requestId: string;
  /** A configured key, or empty. */
  readonly service: string;
  /** A method that the parser knows. */
  readonly method: string;
  /** Path and query, as they came; masked here. */
  readonly url: string;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationUs: number;
  /** To the upstream's headers, without the wait for its quota; 0 when there were none. */
  readonly upstreamUs: number;
  /** Waited for the upstream's quota; 0 when it did not have to. */
  readonly queuedUs: number;
  /** What the upstream's quota had to do with it. */
  readonly quota: string;
  readonly attempts: number;
  /** An address. */
  readonly client: string;
  /** A name of the gateway's own making. */
  readonly caller: string;
  readonly outcome: string;
}

export interface Logger extends Pick<PinoLogger, "debug" | "info" | "warn" | "error"> {
  /** False when `access` would do nothing: lets the caller skip the work. */
  readonly isAccessLogged: boolean;
  access(line: AccessLine): void;
  /** Replaces the gateway's own keys, in the few texts that a caller has a hand in: those are the secrets it could hold. */
  readonly maskKeys: SecretMask;
  /** The last warnings and errors, also where the log itself leaves them out. */
  readonly recentErrors: RecentErrors["list"];
  /** Writes out what is held back, synchronously. */
  flush(): void;
  close(): void;
}

export interface LoggerOptions {
  readonly level: Level | "silent";
  readonly format: "json" | "pretty";
  readonly isEnabled: boolean;
  readonly isAccessLogged: boolean;
  /** Replaces known secrets in every line but access lines, which hold none by construction. */
  readonly mask: SecretMask;
  /** Replaces the gateway's own keys only: cheap, however many services there are. */
  readonly maskKeys: SecretMask;
  /** Takes whole lines; stdout when left out. */
  readonly sink?: LineSink;
}

export interface LineSink {
  write(lines: string): void;
  flushSync(): void;
}

/**
 * Exchanges are kept as they are, and made into lines and written together: one by one, between the rest of a request's
 * work, that would be its dearest part.
 */
const LINES_HELD = 64;
const FLUSH_INTERVAL_MS = 100;

/** A reader of the log that stands still costs lines, not memory. */
const UNWRITTEN_BYTES_LIMIT = 16 * 1024 * 1024;

/** pino's number. */
const WARN = 40;

export async function createLogger(options: LoggerOptions): Promise<Logger> {
  const sink = options.sink ?? (options.format === "pretty" ? await prettyStdout() : jsonStdout());
  const batch = createBatch(sink, options.maskKeys);
  const recentErrors = createRecentErrors();
  const level = options.isEnabled ? options.level : "silent";
  const leastWritten = level === "silent" ? Number.POSITIVE_INFINITY : pino.levels.values[level];
  const stream: DestinationStream = {
    write(line) {
      const masked = options.mask(line);
      const number = levelOf(line);
      if (isError(number)) recentErrors.add(masked);
      if (number < (leastWritten ?? 0)) return;
      // What happened before stands before.
      batch.flush();
      sink.write(masked);
    },
  };
  // Warnings are made where the log does not want them, too: they are kept for who asks.
  const made = leastWritten !== undefined && leastWritten > WARN ? "warn" : level;
  const log = pino({ level: made, base: null, serializers: { err: stdSerializers.errWithCause } }, stream);
  return {
    debug: log.debug.bind(log),
    info: log.info.bind(log),
    warn: log.warn.bind(log),
    error: log.error.bind(log),
    maskKeys: options.maskKeys,
    isAccessLogged: options.isAccessLogged && log.isLevelEnabled("info"),
    recentErrors: recentErrors.list,
    access: batch.add,
    flush() {
      batch.flush();
      sink.flushSync();
    },
    close() {
      batch.flush();
      sink.flushSync();
    },
  };
}

/**
 * pino's form of a line, without pino's walk over an object. Only what a client can write freely is escaped: numbers
 * are integers, and the other words are the gateway's own or were checked where they came in.
 */
function accessLine(line: AccessLine, maskKeys: SecretMask): string {
  // A path is anything that a caller made up, a key by mistake among it: `/x%3Fapi_key=<key>`.
  const url = maskQuery(maskKeys(line.url));
  return `{"level":30,"time":${line.time},"requestId":"${line.requestId}","service":"${line.service}","method":"${line.method}","path":${quoted(url)},"status":${line.status},"bytesIn":${line.bytesIn},"bytesOut":${line.bytesOut},"durationUs":${line.durationUs},"upstreamUs":${line.upstreamUs},"queuedUs":${line.queuedUs},"quota":"${line.quota}","attempts":${line.attempts},"client":"${line.client}","caller":"${line.caller}","outcome":"${line.outcome}","msg":"request"}\n`;
}

const NEEDS_ESCAPING = /[^\x20-\x7e]|["\\]/;

function quoted(text: string): string {
  return NEEDS_ESCAPING.test(text) ? JSON.stringify(text) : `"${text}"`;
}

function createBatch(sink: LineSink, maskKeys: SecretMask) {
  let held: AccessLine[] = [];
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (held.length === 0) return;
    let lines = "";
    for (const line of held) lines += accessLine(line, maskKeys);
    held = [];
    sink.write(lines);
  };
  return {
    add(line: AccessLine) {
      held.push(line);
      if (held.length >= LINES_HELD) flush();
      else if (timer === undefined) {
        timer = setTimeout(flush, FLUSH_INTERVAL_MS);
        timer.unref();
      }
    },
    flush,
  };
}

function jsonStdout(): LineSink {
  return fstatSync(1).isFile() ? fileStdout() : streamStdout();
}

/** A file never keeps a writer waiting, and writing it here is cheaper than waking a thread. */
function fileStdout(): LineSink {
  return {
    write(lines) {
      try {
        writeSync(1, lines);
      } catch {
        // The disk is full: lines are lost, and there is no other place to say so.
      }
    },
    flushSync() {},
  };
}

/** The reader of a pipe may stall, or go away (`npm start | head`), which must not take the gateway with it. */
function streamStdout(): LineSink {
  const stdout = destination({ dest: 1, sync: false, minLength: 0, maxLength: UNWRITTEN_BYTES_LIMIT });
  stdout.on("error", () => {});
  return {
    write: (lines) => stdout.write(lines),
    flushSync() {
      try {
        stdout.flushSync();
      } catch {
        // Not open yet, or nobody reads: there is no other place to say so.
      }
    },
  };
}

/** For people at a terminal; loaded only there. */
async function prettyStdout(): Promise<LineSink> {
  const { default: pretty } = await import("pino-pretty");
  const stream = pretty({ colorize: process.stdout.isTTY, ignore: "pid,hostname", sync: true, destination: 1 });
  return {
    write(lines) {
      for (const line of lines.split("\n")) if (line !== "") stream.write(`${line}\n`);
    },
    flushSync() {},
  };
}
