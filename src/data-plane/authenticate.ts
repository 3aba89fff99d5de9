/** Who calls: the first step that can refuse a well-formed request, and the last one that a stranger sees. */
import type { Caller, Callers } from "../callers/callers.ts";
import type { PresentedKeys } from "../callers/presented-keys.ts";
import { authenticateOrRefuse, callerOrRefusal } from "../callers/refuse-caller.ts";
import type { GatewayError } from "../errors.ts";

/** Decides, and remembers a refusal. */
export function authenticate(callers: Callers, presented: PresentedKeys): Caller | GatewayError {
  return authenticateOrRefuse("proxy", callers, presented);
}

export function decideCaller(callers: Callers, presented: PresentedKeys): Caller | GatewayError {
  return callerOrRefusal("proxy", callers.authenticate("proxy", presented));
}

/** The same for a caller who is only assumed; undefined for an id that nobody has. */
export function decideAssumedCaller(callers: Callers, callerId: string): Caller | GatewayError | undefined {
  const authentication = callers.assume("proxy", callerId);
  return authentication && callerOrRefusal("proxy", authentication);
}
