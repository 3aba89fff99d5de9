/** `/manage/audit`: who changed what, newest first. */
import type { Hono } from "hono";
import { GatewayError } from "../../errors.ts";
import { JOURNAL_LIMIT } from "../../stores/journal.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

const DEFAULT_LIMIT = 100;

export function addAuditRoute(routes: Hono<CallerEnv>, { audit }: ControlPlaneParts): void {
  routes.get("/audit", (context) => {
    const given = context.req.query("limit") ?? String(DEFAULT_LIMIT);
    const limit = /^\d{1,6}$/.test(given) ? Number(given) : 0;
    if (limit < 1) {
      const allowed = `an integer from 1 to ${JOURNAL_LIMIT}`;
      throw new GatewayError("VALIDATION_ERROR", {
        message: `limit is not valid, allowed: ${allowed}.`,
        extra: { details: { limit: [`allowed: ${allowed}`] } },
      });
    }
    const entries = audit.newest(Math.min(limit, JOURNAL_LIMIT));
    context.header("Cache-Control", "no-store");
    return context.json({ entries, count: entries.length });
  });
}
