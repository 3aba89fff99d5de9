/** `/manage/audit`: the changes and their authors, newest first. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { JOURNAL_LIMIT } from "../../stores/journal.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

const DEFAULT_LIMIT = 100;

/** Of several query parameters the first counts. A number above the maximum returns all entries. */
const limit = z.preprocess(
  (value) => (Array.isArray(value) ? value[0] : value),
  z
    .string()
    .regex(/^(?!0+$)\d{1,6}$/, `an integer from 1 to ${JOURNAL_LIMIT}`)
    .default(String(DEFAULT_LIMIT))
    .openapi({ type: "integer", minimum: 1, maximum: JOURNAL_LIMIT, default: DEFAULT_LIMIT }),
);

const Entry = z
  .strictObject({
    time: z.iso.datetime(),
    caller: z.string(),
    address: z.string(),
    requestId: z.string(),
    action: z
      .string()
      .describe(
        "`service.create`, `service.replace`, `service.patch`, `service.delete`, `reload`, `rate-limit.reset`, `quota.reset`, `cache.clear`, `credential.refresh`, `credential.rotate`, `credential.promote`, `credential.roll-back`, `credential.cancel`, `key.create`, `key.change`, `key.revoke` or `key.rotate`",
      ),
    subject: z.string().optional().describe("the key of a service"),
    before: z.unknown().optional(),
    after: z.unknown().optional(),
  })
  .openapi("AuditEntry");

const route = createRoute({
  method: "get",
  path: "/audit",
  operationId: "listAudit",
  summary: "List the changes and their authors, newest first",
  description: "Secrets are masked before an entry is stored. The gateway keeps the newest 1,000 entries.",
  ...forOperators("Management", "VALIDATION_ERROR"),
  request: { query: z.object({ limit }) },
  responses: {
    200: json(
      "The newest entries.",
      z.strictObject({ entries: z.array(Entry), count: z.int() }),
      {
        entries: [
          {
            time: "2026-11-20T23:09:19.178Z",
            caller: "management-key",
            address: "127.0.0.1",
            requestId: "6d85a480-1a16-4d9a-82a3-a8ca114eeb5e",
            action: "service.create",
            subject: "weather",
            after: { baseUrl: "https://api.weather.example/v2/" },
          },
        ],
        count: 1,
      },
      NO_STORE,
    ),
  },
});

export function addAuditRoute(routes: OpenAPIHono<CallerEnv>, { audit }: ControlPlaneParts): void {
  routes.openapi(route, (context) => {
    const { limit } = context.req.valid("query");
    const entries = audit.newest(Math.min(Number(limit), JOURNAL_LIMIT));
    context.header("Cache-Control", "no-store");
    return context.json({ entries: [...entries], count: entries.length }, 200);
  });
}
