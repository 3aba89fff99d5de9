/** Checks the issued keys: those that were refused, have used up their limit, or expire soon. */
import type { KeyRefusal, KeyRefusalReason } from "../callers/key-refusals.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type Finding, type IssuedKeyState, type Problem } from "./check.ts";

const FINDINGS = {
  ended: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with a key that worked before",
    fix: "Issue a new key (POST /manage/keys), or remove the old one from the program that still sends it.",
  },
  permission: {
    status: "warn",
    symptom: "403 INSUFFICIENT_PERMISSIONS",
    fix: "Add the permission in `required` of the response to the key: PATCH /manage/keys/<id>. For a token (jwt:…), its issuer adds it to the claim with the permissions.",
  },
  address: {
    status: "warn",
    symptom: "403 IP_NOT_ALLOWED",
    fix: "Add the address to allowIps of the key. If the gateway is behind a proxy or load balancer, set TRUST_PROXY.",
  },
  certificate: {
    status: "warn",
    symptom: "403 INSUFFICIENT_PERMISSIONS with `required: clientCert`",
    fix: "Let the client connect with the certificate of the key, or set clientCert of the key to its new certificate: PATCH /manage/keys/<id>. The port of a service has no client certificates.",
  },
  limited: {
    status: "warn",
    symptom: "429 RATE_LIMIT_EXCEEDED for one key only",
    fix: "Wait for the number of seconds in Retry-After, or raise rateLimit of the key: PATCH /manage/keys/<id>.",
  },
  expiring: {
    status: "warn",
    symptom: "a key expires soon",
    fix: "Set a later expiresAt (PATCH /manage/keys/<id>), or rotate the key with a grace period: POST /manage/keys/<id>/rotate.",
  },
} as const;

const FINDING_OF: Readonly<Record<KeyRefusalReason, Finding>> = {
  expired: FINDINGS.ended,
  revoked: FINDINGS.ended,
  permission: FINDINGS.permission,
  address: FINDINGS.address,
  certificate: FINDINGS.certificate,
};

/** Older mistakes are probably fixed. */
const RECENT_MS = 3_600_000;
/** Leaves enough time to hand out another key. */
const SOON_MS = 7 * 24 * 3_600_000;
/** Problems beyond this number are only counted. */
const LISTED_LIMIT = 20;

export const keys: Check = {
  id: "keys",
  needs: "configuration",
  inspects:
    "the issued keys: how many there are, why keys were refused in the last hour, and which expire within seven days",
  findings: FINDINGS,
  async run({ issuedKeys, keyRefusals, keysAtLimit }) {
    const all = await issuedKeys();
    const byId = new Map(all.map((key) => [key.id, key]));
    const recent = keyRefusals().filter(({ lastAt }) => lastAt > Date.now() - RECENT_MS);
    const active = all.filter(({ state }) => state === "active");
    const expiring = active.filter(
      ({ expiresAt }) => expiresAt !== null && Date.parse(expiresAt) < Date.now() + SOON_MS,
    );
    // The count of a limit stays in memory after an operator has removed the limit.
    const limited = (await keysAtLimit())
      .flatMap((id) => byId.get(id) ?? [])
      .filter(({ rateLimit }) => rateLimit !== null);
    const problems = [
      ...recent.map((refusal) => ({
        finding: FINDING_OF[refusal.reason],
        message: describeRefusal(refusal, byId.get(refusal.id)),
      })),
      ...limited.map((key) => ({ finding: FINDINGS.limited, message: `${labelOf(key)} has used up its own limit` })),
      ...expiring.map((key) => ({
        finding: FINDINGS.expiring,
        message: `${labelOf(key)} expires at ${key.expiresAt}`,
      })),
    ];
    const numberOf = (state: IssuedKeyState["state"]) => all.filter((key) => key.state === state).length;
    const counts = { active: active.length, expired: numberOf("expired"), revoked: numberOf("revoked") };
    return conclude(bounded(problems), plural(counts.active, "active key"), {
      ...counts,
      refused: recent.slice(0, LISTED_LIMIT).map(({ lastAt, ...refusal }) => ({
        ...refusal,
        name: byId.get(refusal.id)?.name ?? null,
        lastAt: new Date(lastAt).toISOString(),
      })),
      limited: limited.slice(0, LISTED_LIMIT).map(({ id }) => id),
      expiring: expiring.slice(0, LISTED_LIMIT).map(({ id, name, expiresAt }) => ({ id, name, expiresAt })),
    });
  },
};

const labelOf = ({ id, name }: Pick<IssuedKeyState, "id" | "name">) => `${name} (${id})`;

function describeRefusal({ id, reason, count, required }: KeyRefusal, key: IssuedKeyState | undefined): string {
  const label = key === undefined ? id : labelOf(key);
  switch (reason) {
    case "expired":
      return `${label} is expired and was sent ${plural(count, "time")}`;
    case "revoked":
      return `${label} is revoked and was sent ${plural(count, "time")}`;
    case "permission":
      // Only the last missing permission is stored: earlier requests may have lacked another one.
      return `${label} lacked ${required} (${count === 1 ? "1 request" : `the last of ${count} requests`})`;
    case "certificate":
      return `${label} was sent without its client certificate (${plural(count, "request")})`;
    case "address":
      return `${label} was sent from an address that is not in its allowIps (${plural(count, "request")})`;
  }
}

function bounded(problems: readonly Problem[]): readonly Problem[] {
  const [next] = problems.slice(LISTED_LIMIT);
  if (next === undefined) return problems;
  const more = { finding: next.finding, message: `and ${problems.length - LISTED_LIMIT} more` };
  return [...problems.slice(0, LISTED_LIMIT), more];
}
