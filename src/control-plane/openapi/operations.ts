/**
 * The words in which a route describes itself to the OpenAPI document, beside its handler.
 * Invariant: a route names the keys it takes and the codes it can refuse with; the answers to those codes are made of the
 * catalogue alone (`error-answers.ts`), so that none is described twice.
 */
import type { z } from "@hono/zod-openapi";
import type { ErrorCode } from "../../errors.ts";

/** Member of an operation that holds its codes until the document is built. */
export const CODES = "x-error-codes";

export const TAGS = {
  Health: "Whether it lives, may be given traffic, what it is and what it asks for. Open to everyone.",
  Status: "How it is. For operators, without a key.",
  Callers: "What callers may ask. With the proxy key.",
  Proxy: "What is forwarded. With the proxy key.",
  Services: "Services at run time. With the management key.",
  Keys: "Keys that are issued to callers. With the management key, or one with `manage:keys`.",
  Management: "What operators do besides. With the management key.",
  Documentation: "This document, and the page that shows it.",
} as const;

type Tag = keyof typeof TAGS;

/** Forms of each key: all are looked at, the first valid one decides. */
export const KEY_FORMS = ["Bearer", "Header", "Query"] as const;

/** What any request can be answered with, whatever it asks for. */
export const ANYWHERE = [
  "INVALID_REQUEST",
  "INVALID_PATH",
  "HOST_HEADER_INVALID",
  "METHOD_NOT_ALLOWED",
  "REQUEST_TIMEOUT",
  "EXPECTATION_FAILED",
  "HEADERS_TOO_LARGE",
  "INTERNAL_ERROR",
  "NOT_IMPLEMENTED",
  "LOOP_DETECTED",
] satisfies readonly ErrorCode[];

const AT_THE_KEY = [
  "MISSING_CREDENTIALS",
  "INVALID_API_KEY",
  "TOO_MANY_AUTH_FAILURES",
  "ORIGIN_NOT_ALLOWED",
  "HOST_NOT_ALLOWED",
] as const;

/** Of a key that was issued for less. */
const OF_THE_KEY = ["INSUFFICIENT_PERMISSIONS", "IP_NOT_ALLOWED"] as const;

/** Of a route that asks for no key. */
export function forEveryone(tag: Tag, ...codes: ErrorCode[]) {
  return { tags: [tag], security: [], [CODES]: codes };
}

/** Of a route behind the proxy key. */
export function forCallers(tag: Tag, ...codes: ErrorCode[]) {
  return { tags: [tag], security: keysOf("proxy"), [CODES]: [...AT_THE_KEY, ...codes] };
}

/** Of a route under /manage. A body is refused by its type, also where none is wanted. */
export function forOperators(tag: Tag, ...codes: ErrorCode[]) {
  return {
    tags: [tag],
    security: keysOf("management"),
    [CODES]: [...AT_THE_KEY, ...OF_THE_KEY, "UNSUPPORTED_MEDIA_TYPE" as const, ...codes],
  };
}

/** Alternatives, any one of which is enough. */
export function keysOf(plane: "proxy" | "management"): Record<string, string[]>[] {
  return KEY_FORMS.map((form) => ({ [`${plane}Key${form}`]: [] }));
}

/** What the refusal of a body that is no sound change adds. */
export const BODY_CODES = ["VALIDATION_ERROR", "PAYLOAD_TOO_LARGE"] as const satisfies readonly ErrorCode[];

/** A header of an answer. */
export type DescribedHeader = { description: string; required: boolean; schema: { type: "string" | "integer" } };

export function header(description: string, required = true, type: "string" | "integer" = "string"): DescribedHeader {
  return { description, required, schema: { type } };
}

export const NO_STORE = { "Cache-Control": header("`no-store`") };

/** An answer of JSON. @param example a real one. */
export function json<S extends z.ZodType>(
  description: string,
  schema: S,
  example: NoInfer<z.input<S>>,
  headers: Record<string, DescribedHeader> = {},
) {
  return { description, headers, content: { "application/json": { schema, example } } };
}

/** Path parameters, described once in the document. */
export const SERVICE_IN_PATH = { $ref: "#/components/parameters/Service" };
export const KEY_IN_PATH = { $ref: "#/components/parameters/Key" };
