/** `/manage/events`: what happens in the gateway, as Server-Sent Events. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { GatewayError } from "../../errors.ts";
import { readStatusRange } from "../../telemetry/exchange-filter.ts";
import { forOperators, header, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { type CallerEnv, createReadCheck } from "../require-caller.ts";
import { queryOf, SERVICE_AND_STATUS } from "./exchange-query.ts";
import { EXAMPLE } from "./requests.ts";

const DESCRIPTION = `A stream of Server-Sent Events; the data of each is one JSON object.

- \`request\`: a finished exchange, with the members of \`GET /manage/requests\`
- \`change\`: an entry of \`GET /manage/audit\`
- \`breaker\`: \`{service, state, failures, requests, retryAfter}\`, when a breaker opens, probes its upstream or closes
- \`quota\`: \`{service, state, until?}\`: \`refused\` by the upstream, \`holding\` requests, \`released\` the last of them
- \`pressure\`: \`{state: "begins", gauge, value, limit, setting}\` or \`{state: "ends"}\`
- \`lost\`: \`{count}\`: so many events were lost here, because the reader was too slow
- \`end\`: \`{reason}\`, the last event: \`draining\`, or \`key-ended\` if the key was revoked, expired or lost the permission

\`service\` leaves out events about other services, \`status\` other requests. Comments keep the connection open.`;

const route = createRoute({
  method: "get",
  path: "/events",
  operationId: "followEvents",
  summary: "Follow what happens in the gateway",
  description: DESCRIPTION,
  ...forOperators("Management", "VALIDATION_ERROR", "UNDER_PRESSURE", "SHUTTING_DOWN"),
  request: { query: queryOf(SERVICE_AND_STATUS) },
  responses: {
    200: {
      description: "The stream. It begins with a comment.",
      headers: { ...NO_STORE, "X-Accel-Buffering": header("`no`: nginx does not buffer the stream.") },
      content: {
        "text/event-stream": {
          schema: z.string(),
          example: `: the events of this gateway\n\nevent: request\ndata: ${JSON.stringify(EXAMPLE)}\n\n`,
        },
      },
    },
  },
});

export function addEventsRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { events, instance, retryAfterS } = parts;
  routes.openapi(route, (context) => {
    const { service, status } = context.req.valid("query");
    context.header("Content-Type", "text/event-stream");
    context.header("Cache-Control", "no-store");
    context.header("X-Accel-Buffering", "no");
    // The body of a response to HEAD is never read: a reader of it would stay forever.
    if (context.req.method === "HEAD") return context.body(null, 200) as never;
    if (instance.isDraining) throw new GatewayError("SHUTTING_DOWN");
    const { outgoing } = context.env;
    const stream = events.open({
      filter: { service, status: status === undefined ? undefined : readStatusRange(status) },
      digest: context.get("caller").issued?.digest,
      isAllowed: createReadCheck(context, parts),
      cut: () => void (outgoing.writableFinished || outgoing.destroy()),
    });
    if (stream === undefined) throw tooManyReaders(events.maxReaders, retryAfterS);
    // `never`, because a stream has no typed response.
    return context.body(stream, 200) as never;
  });
}

function tooManyReaders(limit: number, retryAfterS: number): GatewayError {
  return new GatewayError("UNDER_PRESSURE", {
    message: `${limit} readers follow the events already, which is the limit.`,
    hint: "Close one of them, or read GET /manage/requests instead.",
    headers: ["Retry-After", String(retryAfterS)],
  });
}
