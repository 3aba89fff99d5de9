/** The 401 of both planes: says which kind of key is needed and how to send it, and nothing an attacker could use. */
import { GatewayError } from "../errors.ts";
import { ANONYMOUS, type Authentication, type Caller, type Callers, type Plane } from "./callers.ts";
import type { PresentedKeys } from "./presented-keys.ts";

const KEY_VARIABLE: Record<Plane, string> = { proxy: "PROXY_API_KEY", management: "MANAGEMENT_API_KEY" };
const PLANE_PATH: Record<Plane, string> = { proxy: "/proxy", management: "/manage" };

/** Lets in, or refuses and remembers what was wrong with the key, for the diagnostics. */
export function authenticateOrRefuse(
  plane: Plane,
  callers: Callers,
  presented: PresentedKeys,
  address: string,
): Caller | GatewayError {
  const locked = guessingRefusal(callers.lockedForMs(plane, presented, address));
  if (locked !== undefined) return locked;
  const decided = callerOrRefusal(plane, callers.authenticate(plane, presented, address));
  if (decided instanceof GatewayError) callers.rememberRefused(plane, presented);
  return decided;
}

/** The same, and nothing is counted or remembered. */
export function decideCallerOrRefusal(
  plane: Plane,
  callers: Callers,
  presented: PresentedKeys,
  address: string,
): Caller | GatewayError {
  const locked = guessingRefusal(callers.lockedForMs(plane, presented, address));
  return locked ?? callerOrRefusal(plane, callers.authenticate(plane, presented));
}

function guessingRefusal(lockedForMs: number): GatewayError | undefined {
  if (lockedForMs === 0) return undefined;
  return new GatewayError("TOO_MANY_AUTH_FAILURES", {
    message: "Too many unknown keys came from this address within a minute.",
    headers: ["Retry-After", String(Math.ceil(lockedForMs / 1_000))],
  });
}

/** For whom anybody may be: whoever has a good key is told apart all the same, and nobody is refused. */
export function callerOrAnybody(plane: Plane, callers: Callers, presented: PresentedKeys): Caller {
  const authentication = callers.authenticate(plane, presented);
  return authentication.verdict === "known" ? authentication.caller : ANONYMOUS;
}

/** The caller, or the refusal. */
export function callerOrRefusal(plane: Plane, authentication: Authentication): Caller | GatewayError {
  if (authentication.verdict === "known") return authentication.caller;
  const needed = `${PLANE_PATH[plane]} needs the ${plane} key (${KEY_VARIABLE[plane]}), or an issued one`;
  const headers = ["WWW-Authenticate", "Bearer"];
  if (authentication.verdict === "missing") {
    const form = authentication.otherScheme ? " The Authorization header is not of the form `Bearer <key>`." : "";
    return new GatewayError("MISSING_CREDENTIALS", { message: `${needed}.${form}`, headers });
  }
  const other: Plane = plane === "proxy" ? "management" : "proxy";
  if (authentication.ended !== undefined) {
    // Only whoever has all of the key hears of it.
    const message = `${needed}; the one sent ${authentication.ended === "expired" ? "has expired" : "was revoked"}.`;
    return new GatewayError("INVALID_API_KEY", { message, headers });
  }
  return new GatewayError("INVALID_API_KEY", {
    message: authentication.otherPlane
      ? `${needed}; the one sent is the ${other} key.`
      : `${needed}; the one sent is not valid.`,
    headers,
  });
}
