/** Who may call, and what was wrong with the keys that were refused. */
import type { KeyFault } from "../callers/refused-keys.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type DiagnosticsContext, type Problem } from "./check.ts";

const FINDS = {
  exposed: {
    status: "fail",
    symptom: "whoever reaches the address may use, or change, the gateway",
    fix: "Set PROXY_API_KEY and MANAGEMENT_API_KEY, and take ALLOW_UNAUTHENTICATED away.",
  },
  open: {
    status: "warn",
    symptom: "no key is asked for",
    fix: "Set MANAGEMENT_API_KEY, and PROXY_API_KEY or issue keys (and no REQUIRE_AUTH_FOR_… to false), unless every program on this machine may call.",
  },
  otherPlane: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with the key of the other plane",
    fix: "/proxy takes PROXY_API_KEY or a key with a permission for a service, /manage takes MANAGEMENT_API_KEY or one with manage:….",
  },
  misshapen: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with a key that is cut short, in quotes, with spaces or in another case",
    fix: "Send the key whole and bare: Authorization: Bearer <key>, x-api-key: <key> or ?api_key=<key>, percent-encoded there. /manage/key-debug shows what arrives.",
  },
  scheme: {
    status: "warn",
    symptom: "401 MISSING_CREDENTIALS although an Authorization header was sent",
    fix: "Send it as Authorization: Bearer <key>, or as x-api-key: <key>.",
  },
} as const;

const FIND_OF: Readonly<Partial<Record<KeyFault, Problem["find"]>>> = {
  "the other plane's key": FINDS.otherPlane,
  "too short": FINDS.misshapen,
  "with more around it": FINDS.misshapen,
  "in another case": FINDS.misshapen,
  "a misspelt issued key": FINDS.misshapen,
  "another scheme": FINDS.scheme,
};

/** A mistake that is older than this was mended, or nobody minds, ms. */
const RECENT_MS = 3_600_000;

export const auth: Check = {
  id: "auth",
  needs: "configuration",
  looksAt: "which planes ask for a key, and the keys that were refused within the hour",
  finds: FINDS,
  run(context) {
    const { config, refusedKeys, isProtected } = context;
    const recent = refusedKeys().filter(({ lastAt }) => lastAt > Date.now() - RECENT_MS);
    const mistakes = recent.flatMap(({ plane, fault, count }): Problem[] => {
      const find = FIND_OF[fault];
      const routes = plane === "proxy" ? "/proxy" : "/manage";
      return find === undefined
        ? []
        : [{ find, words: `${plural(count, "request")} to ${routes} came with ${WORDS[fault]}` }];
    });
    return conclude([...openPlanes(context), ...mistakes], "both planes ask for their key", {
      proxy: { protected: isProtected("proxy"), keySet: config.proxyPlane.key !== undefined },
      management: { protected: isProtected("management"), keySet: config.managementPlane.key !== undefined },
      loopback: config.isLoopback,
      refused: recent.map((each) => ({ ...each, lastAt: new Date(each.lastAt).toISOString() })),
    });
  },
};

const WORDS: Readonly<Record<KeyFault, string>> = {
  missing: "no key",
  "another scheme": "an Authorization of another scheme than Bearer",
  "the other plane's key": "the key of the other plane",
  "too short": "a key that is too short, or was cut",
  "with more around it": "the key with something around it",
  "in another case": "the key in another case",
  "a misspelt issued key": "an issued key that is cut short or mistyped",
  ended: "an issued key that has expired or was revoked",
  unknown: "an unknown key",
};

function openPlanes({ config, isProtected }: DiagnosticsContext): Problem[] {
  const { isLoopback, managementListener } = config;
  const open = [
    { routes: "/proxy", isOpen: !isProtected("proxy"), isHidden: isLoopback },
    {
      routes: "/manage",
      isOpen: !isProtected("management"),
      isHidden: managementListener?.isLoopback ?? isLoopback,
    },
  ].filter(({ isOpen }) => isOpen);
  return open.map(({ routes, isHidden }) =>
    isHidden
      ? { find: FINDS.open, words: `${routes} is open to every program on this machine` }
      : { find: FINDS.exposed, words: `${routes} is open to whoever reaches the address` },
  );
}
