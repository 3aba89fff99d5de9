/** Who calls, and the 401 of both planes: it says which kind of key is needed and how to send it, and nothing an attacker could use. */
import type { Service } from "../config/schema.ts";
import { GatewayError } from "../errors.ts";
import { ANONYMOUS, type Authentication, type Caller, type Callers, type Plane, type Presentation } from "./callers.ts";

/** `public`: whoever has a good key is told apart all the same, and nobody is refused. */
type Access = Service["access"];

const KEY_VARIABLE: Record<Plane, string> = { proxy: "PROXY_API_KEY", management: "MANAGEMENT_API_KEY" };
const PLANE_PATH: Record<Plane, string> = { proxy: "/proxy", management: "/manage" };

/** Decides, and notes it: guesses are counted. */
export function authenticate(
  callers: Callers,
  presentation: Presentation,
  access: Access = "key",
): Caller | GatewayError {
  const authentication = callers.authenticate(presentation);
  if (access !== "public") callers.note(presentation, authentication);
  return callerOrRefusal(presentation.plane, authentication, access);
}

/** The same, and nothing is noted. */
export function decideCaller(
  callers: Callers,
  presentation: Presentation,
  access: Access = "key",
): Caller | GatewayError {
  return callerOrRefusal(presentation.plane, callers.authenticate(presentation), access);
}

/** The same for a caller who is only assumed; undefined for an id that nobody has. */
export function decideAssumedCaller(
  callers: Callers,
  callerId: string,
  access: Access = "key",
): Caller | GatewayError | undefined {
  const authentication = callers.assume("proxy", callerId);
  return authentication && callerOrRefusal("proxy", authentication, access);
}

function callerOrRefusal(plane: Plane, authentication: Authentication, access: Access): Caller | GatewayError {
  if (authentication.verdict === "known") return authentication.caller;
  return access === "public" ? ANONYMOUS : refusalOf(plane, authentication);
}

function refusalOf(plane: Plane, authentication: Exclude<Authentication, { readonly verdict: "known" }>): GatewayError {
  const needed = `${PLANE_PATH[plane]} needs the ${plane} key (${KEY_VARIABLE[plane]}), or an issued one`;
  const headers = ["WWW-Authenticate", "Bearer"];
  switch (authentication.verdict) {
    case "locked":
      return new GatewayError("TOO_MANY_AUTH_FAILURES", {
        message: "Too many unknown keys came from this address within a minute.",
        headers: ["Retry-After", String(Math.ceil(authentication.forMs / 1_000))],
      });
    case "missing": {
      const form = authentication.otherScheme ? " The Authorization header is not of the form `Bearer <key>`." : "";
      return new GatewayError("MISSING_CREDENTIALS", { message: `${needed}.${form}`, headers });
    }
    case "unknown":
      return new GatewayError("INVALID_API_KEY", { message: `${needed}; ${faultOf(plane, authentication)}.`, headers });
  }
}

function faultOf(
  plane: Plane,
  { otherPlane, ended }: Extract<Authentication, { readonly verdict: "unknown" }>,
): string {
  // Only whoever has all of the key hears of it; which of the two it was is in the log.
  if (ended !== undefined) return "the one sent has expired or was revoked";
  if (otherPlane) return `the one sent is the ${plane === "proxy" ? "management" : "proxy"} key`;
  return "the one sent is not valid";
}
