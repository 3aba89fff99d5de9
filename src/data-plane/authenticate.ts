/** Who calls: the first step that can refuse a well-formed request, and the last one that a stranger sees. */
import { ANONYMOUS, type Caller, type Callers } from "../callers/callers.ts";
import type { PresentedKeys } from "../callers/presented-keys.ts";
import {
  authenticateOrRefuse,
  callerOrAnybody,
  callerOrRefusal,
  decideCallerOrRefusal,
} from "../callers/refuse-caller.ts";
import type { Service } from "../config/schema.ts";
import type { GatewayError } from "../errors.ts";

/** Decides, and remembers a refusal. `access` is that of the service that is asked for; undefined where there is none. */
export function authenticate(
  callers: Callers,
  presented: PresentedKeys,
  { access, address }: { readonly access: Service["access"] | undefined; readonly address: string },
): Caller | GatewayError {
  return access === "public"
    ? callerOrAnybody("proxy", callers, presented)
    : authenticateOrRefuse("proxy", callers, presented, address);
}

export function decideCaller(
  callers: Callers,
  presented: PresentedKeys,
  { access, address }: { readonly access: Service["access"] | undefined; readonly address: string },
): Caller | GatewayError {
  return access === "public"
    ? callerOrAnybody("proxy", callers, presented)
    : decideCallerOrRefusal("proxy", callers, presented, address);
}

/** The same for a caller who is only assumed; undefined for an id that nobody has. */
export function decideAssumedCaller(
  callers: Callers,
  callerId: string,
  access: Service["access"] | undefined,
): Caller | GatewayError | undefined {
  const authentication = callers.assume("proxy", callerId);
  if (access === "public" && authentication !== undefined && authentication.verdict !== "known") return ANONYMOUS;
  return authentication && callerOrRefusal("proxy", authentication);
}
