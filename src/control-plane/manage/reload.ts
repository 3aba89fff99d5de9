/** `POST /manage/reload`: reads the configuration again. An invalid configuration changes nothing. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { GatewayError } from "../../errors.ts";
import { forOperators, json } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";

const keys = z.array(z.string()).readonly();

const Changes = z.strictObject({
  added: keys.describe("keys of services"),
  changed: keys,
  removed: keys,
  needsRestart: keys.describe("variables that need a restart to take effect"),
  warnings: keys,
});

const route = createRoute({
  method: "post",
  path: "/reload",
  operationId: "reload",
  summary: "Reload the configuration",
  description:
    "Reads the services file, the env files and the token files again. If anything is invalid, nothing changes. The certificate of the listener is read, too; one that cannot be used is in `warnings`.",
  ...forOperators("Management", "VALIDATION_ERROR"),
  responses: {
    200: json("The configuration was reloaded. The response lists the changes.", Changes, {
      added: ["weather"],
      changed: [],
      removed: [],
      needsRestart: ["PORT"],
      warnings: [],
    }),
  },
});

export function addReloadRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  routes.openapi(route, async (context) => {
    const outcome = await parts.reload();
    if (!outcome.isDone) {
      throw new GatewayError("VALIDATION_ERROR", {
        message: "The configuration is not valid. The gateway keeps using the old one.",
        extra: { details: { configuration: outcome.problems } },
      });
    }
    const { isDone: _, ...changes } = outcome;
    await parts.audit.record(authorOf(context, parts), { action: "reload", after: changes });
    return context.json(changes, 200);
  });
}
