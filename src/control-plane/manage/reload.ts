/** Reads file and environment anew; what is invalid changes nothing. */
import type { Hono } from "hono";
import { GatewayError } from "../../errors.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { authorOf } from "./author.ts";

export function addReloadRoute(routes: Hono<CallerEnv>, parts: ControlPlaneParts): void {
  routes.post("/reload", async (context) => {
    const outcome = await parts.reload();
    if (!outcome.isDone) {
      throw new GatewayError("VALIDATION_ERROR", {
        message: "The configuration is not valid; the old one goes on serving.",
        extra: { details: { configuration: outcome.problems } },
      });
    }
    const { isDone: _, ...changes } = outcome;
    await parts.audit.record(authorOf(context, parts), { action: "reload", after: changes });
    return context.json(changes);
  });
}
