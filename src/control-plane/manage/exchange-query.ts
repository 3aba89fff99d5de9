/**
 * The query parameters that select exchanges, for `/manage/requests` and `/manage/events`.
 * Invariant: an unknown parameter is refused: a filter with a typing error must not show everything.
 */
import { z } from "@hono/zod-openapi";
import { CATALOG, type ErrorCode } from "../../error-catalog.ts";
import { STATUS_PATTERN } from "../../telemetry/exchange-filter.ts";

/** Of several parameters with one name the first counts. */
export function firstOf<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (Array.isArray(value) ? value[0] : value), schema);
}

const CODES = Object.keys(CATALOG) as [ErrorCode, ...ErrorCode[]];

/** @param allowed the words of the refusal. */
const text = (pattern: RegExp, allowed: string, description: string) =>
  firstOf(z.string().regex(pattern, allowed).optional()).openapi({
    type: "string",
    pattern: pattern.source,
    description,
  });

/** The key may be in the query; it has been read. */
const KEY = {
  api_key: z
    .any()
    .optional()
    .openapi({ param: { in: "query" }, type: "string" }),
};

export const SERVICE_AND_STATUS = {
  service: text(/^[a-z0-9][a-z0-9._-]{0,63}$/, "the key of a service", "only this service"),
  status: text(STATUS_PATTERN, "a status like 503, or a class like 5xx", "`503`, or a class like `5xx`"),
};

export const OTHER_FILTERS = {
  code: firstOf(z.enum(CODES, "an error code, like RATE_LIMIT_EXCEEDED").optional()).openapi({
    type: "string",
    enum: CODES,
    description: "the code with which the gateway refused the request, or with which it failed",
  }),
  caller: text(/^[\w.:@-]{1,128}$/, "the id of a caller", "`proxy-key`, the id of an issued key, or `anonymous`"),
  requestId: text(/^[A-Za-z0-9._:/+=@-]{1,128}$/, "the id of a request", "the `X-Proxy-Request-Id` of the response"),
};

/** @param shape the parameters of the route. */
export function queryOf<S extends z.ZodRawShape>(shape: S) {
  return z.strictObject({ ...shape, ...KEY });
}
