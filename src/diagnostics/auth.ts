/** Checks which planes require a key, and what was wrong with the keys that were refused. */
import type { KeyFault } from "../callers/key-refusals.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type DiagnosticsContext, type Finding, type Problem } from "./check.ts";

const FINDINGS = {
  exposed: {
    status: "fail",
    symptom: "every client that can reach the address can use, or change, the gateway",
    fix: "Set PROXY_API_KEY and MANAGEMENT_API_KEY, and remove ALLOW_UNAUTHENTICATED.",
  },
  open: {
    status: "warn",
    symptom: "requests need no key",
    fix: "Set MANAGEMENT_API_KEY. Set PROXY_API_KEY or issue keys, and remove REQUIRE_AUTH_FOR_…=false. Ignore this if every program on this machine may use the gateway.",
  },
  otherPlane: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with the key of the other plane",
    fix: "/proxy accepts PROXY_API_KEY or a key with a permission for a service. /manage accepts MANAGEMENT_API_KEY or a key with a manage:… permission.",
  },
  malformed: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with a key that is truncated, quoted, in another case, or has spaces around it",
    fix: "Send the complete key without quotes or spaces: Authorization: Bearer <key>, x-api-key: <key> or ?api_key=<key> (percent-encoded). /manage/key-debug shows the keys in a request.",
  },
  empty: {
    status: "warn",
    symptom: "401 MISSING_CREDENTIALS although the client is configured to send a key",
    fix: "The client's key is empty: set the variable, or the field of its configuration, that holds it.",
  },
  token: {
    status: "warn",
    symptom: "401 INVALID_TOKEN",
    fix: "Compare the token's iss and aud with JWT_ISSUER and JWT_AUDIENCE, its algorithm with JWT_JWKS_URL (asymmetric) or JWT_SECRET (HS…), and check that it has exp. /manage/key-debug shows whether a token is valid.",
  },
  scheme: {
    status: "warn",
    symptom: "401 MISSING_CREDENTIALS although the request has an Authorization header",
    fix: "Send the key as Authorization: Bearer <key> or as x-api-key: <key>. Basic is read for services with auth.type basic only; explain lists what a service accepts.",
  },
} as const;

const FINDING_OF: Readonly<Partial<Record<KeyFault, Finding>>> = {
  "the other plane's key": FINDINGS.otherPlane,
  "too short": FINDINGS.malformed,
  "with more around it": FINDINGS.malformed,
  "in another case": FINDINGS.malformed,
  "a misspelt issued key": FINDINGS.malformed,
  "an empty key": FINDINGS.empty,
  "an invalid token": FINDINGS.token,
  "another scheme": FINDINGS.scheme,
};

/** Older mistakes are probably fixed. */
const RECENT_MS = 3_600_000;

export const auth: Check = {
  id: "auth",
  needs: "configuration",
  inspects: "which planes require a key, and the keys that were refused in the last hour",
  findings: FINDINGS,
  run(context) {
    const { config, refusedKeys, isProtected } = context;
    const recent = refusedKeys().filter(({ lastAt }) => lastAt > Date.now() - RECENT_MS);
    const mistakes = recent.flatMap(({ plane, fault, count }): Problem[] => {
      const finding = FINDING_OF[fault];
      if (finding === undefined) return [];
      const routes = plane === "proxy" ? "/proxy" : "/manage";
      return [{ finding, message: `${plural(count, "request")} to ${routes} had ${FAULT_TEXTS[fault]}` }];
    });
    return conclude([...openPlanes(context), ...mistakes], "both planes require a key", {
      proxy: { protected: isProtected("proxy"), keySet: config.proxyPlane.key !== undefined },
      management: { protected: isProtected("management"), keySet: config.managementPlane.key !== undefined },
      loopback: config.isLoopback,
      refused: recent.map((each) => ({ ...each, lastAt: new Date(each.lastAt).toISOString() })),
    });
  },
};

const FAULT_TEXTS: Readonly<Record<KeyFault, string>> = {
  missing: "no key",
  "an empty key": "an empty key",
  "another scheme": "an Authorization header with a scheme other than Bearer",
  "the other plane's key": "the key of the other plane",
  "too short": "a key that is too short or truncated",
  "with more around it": "the key with extra characters around it",
  "in another case": "the key in another case",
  "a misspelt issued key": "an issued key that is truncated or mistyped",
  ended: "an issued key that is expired or revoked",
  "an expired token": "a token that has expired",
  "an invalid token": "a token that is not valid",
  "a token that could not be verified":
    "a token that could not be verified, because the issuer's keys were not available",
  unknown: "an unknown key",
};

function openPlanes({ config, isProtected }: DiagnosticsContext): Problem[] {
  const { isLoopback, managementListener } = config;
  const open = [
    { routes: "/proxy", isOpen: !isProtected("proxy"), isLocal: isLoopback },
    {
      routes: "/manage",
      isOpen: !isProtected("management"),
      isLocal: managementListener?.isLoopback ?? isLoopback,
    },
  ].filter(({ isOpen }) => isOpen);
  return open.map(({ routes, isLocal }) =>
    isLocal
      ? { finding: FINDINGS.open, message: `${routes} is open to every program on this machine` }
      : { finding: FINDINGS.exposed, message: `${routes} is open to every client that can reach the address` },
  );
}
