/**
 * The log: pino for rare lines, and an access line built as a string for each exchange.
 * Invariant: a line is an allow-list of fields: no part of a request is logged that `access-line.ts` does not name.
 */
import { fstatSync, writeSync } from "node:fs";
import {
  type DestinationStream,
  destination,
  type Level,
  type Logger as PinoLogger,
  type LoggerOptions as PinoOptions,
  pino,
} from "pino";
import { paintFor } from "../colors.ts";
import { type AccessLine, accessMembers, clientTextOf } from "./access-line.ts";
import { loggedError } from "./logged-error.ts";
import { createRecentErrors, isError, levelOf, type RecentErrors } from "./recent-errors.ts";
import { maskUrls, type SecretMask } from "./redact.ts";
import { exchangeLine, readExchange } from "./terminal-lines.ts";

export interface Logger extends Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error"> {
  /** `debug` or `trace`: the steps and attempts of each exchange are logged. */
  readonly isVerbose: boolean;
  /** A person reads the log on a terminal. */
  readonly isForTerminal: boolean;
  /** False when `access` would do nothing, so that callers can skip the work. */
  readonly isAccessLogged: boolean;
  access(line: AccessLine): void;
  /** Masks the gateway's own keys, in the few texts that a client can influence: other secrets it does not know. */
  readonly maskKeys: SecretMask;
  /** The last warnings and errors, also when LOG_LEVEL excludes them from the log. */
  readonly recentErrors: RecentErrors["list"];
  /** Writes all buffered lines synchronously. */
  flush(): void;
  close(): void;
}

export interface LoggerOptions {
  readonly level: Level | "silent";
  readonly format: "json" | "pretty";
  readonly isEnabled: boolean;
  readonly isAccessLogged: boolean;
  /** Masks known secrets in all lines except access lines, which contain none by construction. */
  readonly mask: SecretMask;
  /** Masks the gateway's own keys only: cheap for any number of services. */
  readonly maskKeys: SecretMask;
  /** Receives whole lines; stdout when left out. */
  readonly sink?: LineSink;
}

export interface LineSink {
  write(lines: string): void;
  flushSync(): void;
}

/**
 * Exchanges are buffered as objects, then formatted and written together: one by one, between the other work of a request,
 * logging would be the most expensive part of it.
 */
const BUFFERED_LINES = 64;
/** Of paths and hosts: to mask 64 of the longest paths at once would hold up other requests. */
const BUFFERED_CHARACTERS = 64 * 1024;
const FLUSH_INTERVAL_MS = 100;

/** When the log's reader stalls, lines are dropped instead of filling the memory. */
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
      // Access lines of earlier exchanges come first.
      batch.flush();
      sink.write(masked);
    },
  };
  // Warnings are formatted even when LOG_LEVEL excludes them, for the list of recent errors.
  const formatted = leastWritten !== undefined && leastWritten > WARN ? "warn" : level;
  const log = pino({ level: formatted, base: null, serializers: { err: loggedError }, hooks: { logMethod } }, stream);
  return {
    isVerbose: log.isLevelEnabled("debug"),
    trace: log.trace.bind(log),
    debug: log.debug.bind(log),
    info: log.info.bind(log),
    warn: log.warn.bind(log),
    error: log.error.bind(log),
    maskKeys: options.maskKeys,
    isForTerminal: options.format === "pretty" && options.sink === undefined && log.isLevelEnabled("info"),
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

/** Warnings may quote a URL of the configuration. Other lines show commands to try, which stay as they are. */
const logMethod: NonNullable<NonNullable<PinoOptions["hooks"]>["logMethod"]> = function (args, write, level) {
  const masked = level < WARN ? args : args.map((each: unknown) => (typeof each === "string" ? maskUrls(each) : each));
  write.apply(this, masked as typeof args);
};

/** pino's line format, without pino's walk over an object. */
function accessLine(line: AccessLine, maskKeys: SecretMask): string {
  return `{"level":30,${accessMembers(line, maskKeys)},"msg":"request"}\n`;
}

function createBatch(sink: LineSink, maskKeys: SecretMask) {
  let buffered: AccessLine[] = [];
  let characters = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (buffered.length === 0) return;
    let lines = "";
    for (const line of buffered) lines += accessLine(line, maskKeys);
    buffered = [];
    characters = 0;
    sink.write(lines);
  };
  return {
    add(line: AccessLine) {
      buffered.push(line);
      characters += clientTextOf(line);
      if (buffered.length >= BUFFERED_LINES || characters >= BUFFERED_CHARACTERS) flush();
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

/** A write to a file does not wait for a reader, and a synchronous one is cheaper than waking a thread. */
function fileStdout(): LineSink {
  return {
    write(lines) {
      try {
        writeSync(1, lines);
      } catch {
        // The disk is full: the lines are lost, and there is no other place to report it.
      }
    },
    flushSync() {},
  };
}

/** The reader of a pipe may stall or exit (`npm start | head`), which must not end the gateway. */
function streamStdout(): LineSink {
  const stdout = destination({ dest: 1, sync: false, minLength: 0, maxLength: UNWRITTEN_BYTES_LIMIT });
  stdout.on("error", () => {});
  return {
    write: (lines) => stdout.write(lines),
    flushSync() {
      try {
        stdout.flushSync();
      } catch {
        // Not open yet, or without a reader: there is no other place to report it.
      }
    },
  };
}

/** For a terminal; the package is loaded only for this format. */
async function prettyStdout(): Promise<LineSink> {
  const { default: pretty } = await import("pino-pretty");
  const paint = paintFor(process.stdout);
  const stream = pretty({
    colorize: paint("bold", "") !== "",
    ignore: "pid,hostname",
    translateTime: "SYS:HH:MM:ss",
    singleLine: true,
    sync: true,
    destination: 1,
  });
  return {
    write(lines) {
      for (const line of lines.split("\n")) {
        if (line === "") continue;
        const exchange = readExchange(line);
        if (exchange === undefined) stream.write(`${line}\n`);
        else writeTerminal(`${exchangeLine(exchange, paint)}\n`);
      }
    },
    flushSync() {},
  };
}

/** Synchronous, as pino-pretty writes, so that the order of the lines stays. */
function writeTerminal(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // The terminal is closed or stalls: there is no other place to report it.
  }
}
