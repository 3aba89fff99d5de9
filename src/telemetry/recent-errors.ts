/**
 * The last warnings and errors of the log, for diagnostics without access to the log.
 * Invariant: bounded in number and in bytes; an allow-list of fields, masked as in the log; no stack trace.
 */
import { isObject } from "../is-object.ts";
import { maskUrls } from "./redact.ts";

export interface RecentError {
  /** RFC 3339. */
  readonly time: string;
  readonly level: "warn" | "error" | "fatal";
  readonly message: string;
  readonly requestId?: string;
  readonly service?: string;
  /** Of an upstream's response. */
  readonly status?: number;
  /** `ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1`. */
  readonly cause?: string;
}

export interface RecentErrors {
  /** @param line masked, as the log writes it. */
  add(line: string): void;
  /** Newest first. */
  list(): RecentError[];
}

const LINES_KEPT = 50;
/** Characters kept of a line: some have a long chain of causes. */
const LINE_LIMIT = 16_384;
const TEXT_LIMIT = 500;

const LEVELS = { 40: "warn", 50: "error", 60: "fatal" } as const;

/** pino's number of the line's level, the first member of the line. */
export function levelOf(line: string): number {
  return Number(/^\{"level":(\d+)/.exec(line)?.[1]);
}

export function isError(level: number): level is keyof typeof LEVELS {
  return level in LEVELS;
}

export function createRecentErrors(): RecentErrors {
  const lines: string[] = [];
  return {
    add(line) {
      lines.push(line.slice(0, LINE_LIMIT));
      if (lines.length > LINES_KEPT) lines.shift();
    },
    list: () => lines.flatMap((line) => read(line) ?? []).reverse(),
  };
}

/** Lines are parsed when they are listed: until then each costs only its bytes. */
function read(line: string): RecentError | undefined {
  const parsed = parse(line);
  const level = levelOf(line);
  if (!isError(level)) return undefined;
  const { time, msg, requestId, service, status, err } = parsed;
  return {
    time: new Date(typeof time === "number" ? time : 0).toISOString(),
    level: LEVELS[level],
    message: typeof msg === "string" ? short(msg) : "(the line is too long)",
    ...(typeof requestId === "string" ? { requestId } : {}),
    ...(typeof service === "string" && service !== "" ? { service } : {}),
    ...(typeof status === "number" ? { status } : {}),
    ...(isObject(err) ? { cause: short(causeOf(err)) } : {}),
  };
}

/** A line that was cut has at least its time. */
function parse(line: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(line);
  } catch {
    return { time: Number(/"time":(\d+)/.exec(line)?.[1] ?? 0) };
  }
}

/** The error and its causes, each without its stack. */
function causeOf({ type, code, message, cause }: Readonly<Record<string, unknown>>): string {
  const own = [code ?? type, message].filter((part) => typeof part === "string" && part !== "").join(": ");
  return isObject(cause) ? `${own}: ${causeOf(cause)}` : own;
}

function short(text: string): string {
  const masked = maskUrls(text);
  return masked.length > TEXT_LIMIT ? `${masked.slice(0, TEXT_LIMIT)}…` : masked;
}
