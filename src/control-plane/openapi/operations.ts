/**
 * Building blocks for the OpenAPI description of a route, which is beside its handler.
 * Invariant: a route lists the keys it accepts and its error codes. The error responses are generated from the catalog
 * (`error-responses.ts`), so that no error is described twice.
 */
import type { z } from "@hono/zod-openapi";
import type { ErrorCode } from "../../error-catalog.ts";

/** Member of an operation that contains its error codes until the document is built. */
export const CODES = "x-error-codes";

export const TAGS = {
  Health: "Health, readiness, version and the required keys. No key needed.",
  Status: "The state of the gateway, for operators. No key needed.",
  Callers: "Information for callers. Requires the proxy key.",
  Proxy: "Forwarded requests. Requires the proxy key.",
  Services: "Services at run time. Requires the management key.",
  Keys: "Keys issued to callers. Requires the management key, or a key with `manage:keys`.",
  Management: "Other tasks of operators. Requires the management key.",
  Documentation: "This document and the page that shows it.",
} as const;

type Tag = keyof typeof TAGS;

/** The places for a key. All are read, and the first valid key counts. */
export const KEY_FORMS = ["Bearer", "Header", "Query"] as const;

/** Error codes of every route. */
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

const KEY_CODES = [
  "MISSING_CREDENTIALS",
  "INVALID_API_KEY",
  "TOO_MANY_AUTH_FAILURES",
  "ORIGIN_NOT_ALLOWED",
  "HOST_NOT_ALLOWED",
] as const;

/** Error codes for a JSON Web Token, which only the proxy plane accepts. */
const TOKEN_CODES = ["TOKEN_EXPIRED", "INVALID_TOKEN", "TOKEN_KEYS_UNAVAILABLE"] as const;

/** Error codes for an issued key that lacks a permission. */
const ISSUED_KEY_CODES = ["INSUFFICIENT_PERMISSIONS", "IP_NOT_ALLOWED"] as const;

/** For a route that requires no key. */
export function forEveryone(tag: Tag, ...codes: ErrorCode[]) {
  return { tags: [tag], security: [], [CODES]: codes };
}

/** For a route that requires the proxy key. */
export function forCallers(tag: Tag, ...codes: ErrorCode[]) {
  return { tags: [tag], security: keysOf("proxy"), [CODES]: [...KEY_CODES, ...TOKEN_CODES, ...codes] };
}

/** For a route under /manage. These routes check the type of a body even if they do not use it. */
export function forOperators(tag: Tag, ...codes: ErrorCode[]) {
  return {
    tags: [tag],
    security: keysOf("management"),
    [CODES]: [...KEY_CODES, ...ISSUED_KEY_CODES, "UNSUPPORTED_MEDIA_TYPE" as const, ...codes],
  };
}

/** Alternatives: any one of them is enough. */
export function keysOf(plane: "proxy" | "management"): Record<string, string[]>[] {
  return KEY_FORMS.map((form) => ({ [`${plane}Key${form}`]: [] }));
}

/** Additional error codes of a route that reads a body. */
export const BODY_CODES = ["VALIDATION_ERROR", "PAYLOAD_TOO_LARGE"] as const satisfies readonly ErrorCode[];

/** A response header. */
export type DescribedHeader = { description: string; required: boolean; schema: { type: "string" | "integer" } };

export function header(description: string, required = true, type: "string" | "integer" = "string"): DescribedHeader {
  return { description, required, schema: { type } };
}

export const NO_STORE = { "Cache-Control": header("`no-store`") };

/** A JSON response. @param example a real response. */
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
