/**
 * An error as a log line contains it: type, code, message, stack and cause, and the errors of an AggregateError.
 * Invariant: an allow-list. Libraries attach the bytes of a message to their errors (`rawPacket`, `data`, `input`): no other member
 * of an error is logged, whatever its name. Depth, number and length are bounded.
 */
import { maskUrls } from "./redact.ts";

export interface LoggedError {
  readonly type: string;
  readonly code?: string | number;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: LoggedError;
  readonly errors?: readonly LoggedError[];
}

/** Errors below one another. */
const DEPTH_LIMIT = 5;
/** Of one AggregateError: a connection attempt has one for each address. */
const ERRORS_LIMIT = 10;
/** Characters. */
const MESSAGE_LIMIT = 1_000;
const STACK_LIMIT = 8_000;

/** @param thrown any value: what is not an Error is described by its type, and a text also by itself. Never throws. */
export function loggedError(thrown: unknown): LoggedError {
  try {
    return describe(thrown, DEPTH_LIMIT);
  } catch {
    // A getter of the error threw.
    return { type: typeof thrown, message: "an error that cannot be read was thrown" };
  }
}

function describe(thrown: unknown, depth: number): LoggedError {
  if (!(thrown instanceof Error)) {
    const type = thrown === null ? "null" : typeof thrown;
    return { type, message: typeof thrown === "string" ? text(thrown, MESSAGE_LIMIT) : `${type} was thrown` };
  }
  const { name, message, stack } = thrown;
  const { code, cause, errors } = thrown as NodeJS.ErrnoException & { readonly errors?: unknown };
  const isDeeper = depth > 1;
  return {
    type: text(thrown.constructor?.name || name, MESSAGE_LIMIT),
    ...(isCode(code) ? { code } : {}),
    message: text(message, MESSAGE_LIMIT),
    ...(typeof stack === "string" ? { stack: text(stack, STACK_LIMIT) } : {}),
    ...(cause !== undefined && isDeeper ? { cause: describe(cause, depth - 1) } : {}),
    ...(Array.isArray(errors) && isDeeper
      ? { errors: errors.slice(0, ERRORS_LIMIT).map((each) => describe(each, depth - 1)) }
      : {}),
  };
}

/** Codes are words or numbers; a longer text is not a code. */
const isCode = (code: unknown): code is string | number =>
  typeof code === "number" || (typeof code === "string" && /^[\w.-]{1,64}$/.test(code));

function text(value: unknown, limit: number): string {
  const masked = maskUrls(String(value ?? ""));
  return masked.length > limit ? `${masked.slice(0, limit)}…` : masked;
}
