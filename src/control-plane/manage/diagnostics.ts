/** What is wrong, with evidence and the mend: all checks, run when asked for. */
import type { Hono } from "hono";
import { maskTexts } from "../mask-texts.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

export function addDiagnosticsRoute(routes: Hono<CallerEnv>, { diagnose, mask }: ControlPlaneParts): void {
  routes.get("/diagnostics", async (context) => {
    const diagnostics = await diagnose();
    context.header("Cache-Control", "no-store");
    return context.json(maskTexts(diagnostics, mask));
  });
}
