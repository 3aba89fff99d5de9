/** Who makes a change, for the audit. */
import type { Context } from "hono";
import type { Author } from "../../registry/audit.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

export function authorOf(context: Context<CallerEnv>, { clients }: Pick<ControlPlaneParts, "clients">): Author {
  const { id: caller, issued } = context.get("caller");
  return {
    caller,
    issued,
    address: clients.addressOf(context.env.incoming),
    requestId: context.get("requestId"),
  };
}
