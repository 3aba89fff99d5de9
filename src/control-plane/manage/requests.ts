/** `/manage/requests`: the last exchanges, newest first. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { type AccessLine, accessMembers } from "../../telemetry/access-line.ts";
import { isSelected, readStatusRange } from "../../telemetry/exchange-filter.ts";
import { EXCHANGES_KEPT } from "../../telemetry/recent-exchanges.ts";
import { Yielder } from "../../yielder.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { firstOf, OTHER_FILTERS, queryOf, SERVICE_AND_STATUS } from "./exchange-query.ts";

/** The fields of the access line. */
const RecordedExchange = z
  .strictObject({
    time: z.int().describe("the end of the exchange, ms since the epoch"),
    requestId: z.string(),
    service: z.string().describe("empty if the request was refused before the service was known"),
    method: z.string(),
    host: z.string().optional().describe("of a request to a service's own host or port"),
    path: z.string().describe("as requested; values of the query and known tokens are `***`"),
    status: z.int().describe("499 if the client left"),
    bytesIn: z.int(),
    bytesOut: z.int(),
    durationUs: z.int(),
    upstreamUs: z.int().describe("until the upstream's response headers; 0 if there were none"),
    queuedUs: z.int(),
    quota: z.enum(["held", "passed", "observed", "none"]),
    cache: z
      .enum(["hit", "miss", "revalidated", "stale", "coalesced", "bypass"])
      .optional()
      .describe("what the cache did; only for a service with one"),
    idempotency: z
      .enum(["first", "replayed", "conflict", "mismatch"])
      .optional()
      .describe("what idempotency did; only for a request with an Idempotency-Key that counts"),
    tokens: z.int().optional().describe("tokens of language models that a budget counted"),
    attempts: z.int(),
    client: z.string(),
    caller: z.string(),
    outcome: z.string().describe("`relayed`, `refused:<code>`, `failed:<code>`, `client-left` or `preflight`"),
  })
  .openapi("RecordedExchange");

export const EXAMPLE = {
  time: 1_795_907_359_178,
  requestId: "6d85a480-1a16-4d9a-82a3-a8ca114eeb5e",
  service: "github",
  method: "GET",
  path: "/proxy/github/user?page=***",
  status: 429,
  bytesIn: 0,
  bytesOut: 412,
  durationUs: 214,
  upstreamUs: 0,
  queuedUs: 0,
  quota: "none",
  attempts: 0,
  client: "127.0.0.1",
  caller: "proxy-key",
  outcome: "refused:RATE_LIMIT_EXCEEDED",
} as const;

const limit = firstOf(
  z
    .string()
    .regex(/^(?!0+$)\d{1,6}$/, `an integer from 1 to ${EXCHANGES_KEPT}`)
    .default(String(EXCHANGES_KEPT)),
).openapi({ type: "integer", minimum: 1, maximum: EXCHANGES_KEPT, default: EXCHANGES_KEPT });

const route = createRoute({
  method: "get",
  path: "/requests",
  operationId: "listRequests",
  summary: "List the last requests, newest first",
  description:
    "The gateway keeps the last 1,000 exchanges in memory, or fewer if their paths are very long. They have the fields of the access log, masked as there. Filters are combined.",
  ...forOperators("Management", "VALIDATION_ERROR"),
  request: { query: queryOf({ ...SERVICE_AND_STATUS, ...OTHER_FILTERS, limit }) },
  responses: {
    200: json(
      "The selected requests.",
      z.strictObject({ requests: z.array(RecordedExchange), count: z.int() }),
      { requests: [EXAMPLE], count: 1 },
      NO_STORE,
    ),
  },
});

export function addRequestsRoute(
  routes: OpenAPIHono<CallerEnv>,
  { recentExchanges, logger }: Pick<ControlPlaneParts, "recentExchanges" | "logger">,
): void {
  routes.openapi(route, async (context) => {
    const { status, limit, ...others } = context.req.valid("query");
    const filter = { ...others, status: status === undefined ? undefined : readStatusRange(status) };
    const lines: AccessLine[] = [];
    for (const line of recentExchanges.newestFirst()) {
      if (lines.length >= Number(limit)) break;
      if (isSelected(line, filter)) lines.push(line);
    }
    const shown: string[] = [];
    // To mask a thousand of the longest paths takes hundreds of milliseconds.
    const yielder = new Yielder();
    for (const line of lines) {
      shown.push(`{${accessMembers(line, logger.maskKeys)}}`);
      if (yielder.isDue) await yielder.yield();
    }
    const body = `{"requests":[${shown.join(",")}],"count":${shown.length}}`;
    // `never`, because the text is JSON already.
    return context.body(body, 200, { "Content-Type": "application/json", "Cache-Control": "no-store" }) as never;
  });
}
