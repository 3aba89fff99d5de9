/** Who calls: the first step that can refuse a well-formed request, and the last one that a stranger sees. */
import type { Caller, Callers } from "../callers/callers.ts";
import type { PresentedKeys } from "../callers/presented-keys.ts";
import { callerOrRefusal } from "../callers/refuse-caller.ts";
import type { GatewayError } from "../errors.ts";

export function decideCaller(callers: Callers, presented: PresentedKeys): Caller | GatewayError {
  return callerOrRefusal("proxy", callers.authenticate("proxy", presented));
}
