/** The issued keys: those that are refused although they were issued, and those that soon will be. */
import type { KeyRefusal, KeyRefusalReason } from "../callers/key-refusals.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type IssuedKeyState, type Problem } from "./check.ts";

const FINDS = {
  ended: {
    status: "warn",
    symptom: "401 INVALID_API_KEY with a key that was good before",
    fix: "Issue another one (POST /manage/keys), or take the old one out of the program that still presents it.",
  },
  permission: {
    status: "warn",
    symptom: "403 INSUFFICIENT_PERMISSIONS",
    fix: "Add what the answer names as required to the key's permissions: PATCH /manage/keys/<id>.",
  },
  address: {
    status: "warn",
    symptom: "403 IP_NOT_ALLOWED",
    fix: "Add the address to allowIps of the key; behind a proxy or balancer, name that in TRUST_PROXY.",
  },
  limited: {
    status: "warn",
    symptom: "429 RATE_LIMIT_EXCEEDED for one key alone",
    fix: "Wait for the seconds in Retry-After, or raise rateLimit of the key: PATCH /manage/keys/<id>.",
  },
  expiring: {
    status: "warn",
    symptom: "a key is about to expire",
    fix: "PATCH its expiresAt, or rotate it with a grace: POST /manage/keys/<id>/rotate.",
  },
} as const;

const FIND_OF: Readonly<Record<KeyRefusalReason, Problem["find"]>> = {
  expired: FINDS.ended,
  revoked: FINDS.ended,
  permission: FINDS.permission,
  address: FINDS.address,
};

/** A mistake that is older than this was mended, or nobody minds, ms. */
const RECENT_MS = 3_600_000;
/** Time enough to hand out another key, ms. */
const SOON_MS = 7 * 24 * 3_600_000;
/** More are counted, not told. */
const TOLD_LIMIT = 20;

export const keys: Check = {
  id: "keys",
  needs: "configuration",
  looksAt:
    "the issued keys: how many there are, what they were refused for within the hour, and which expire within seven days",
  finds: FINDS,
  async run({ issuedKeys, keyRefusals, keysAtLimit }) {
    const all = issuedKeys();
    const byId = new Map(all.map((key) => [key.id, key]));
    const recent = keyRefusals().filter(({ lastAt }) => lastAt > Date.now() - RECENT_MS);
    const active = all.filter(({ state }) => state === "active");
    const expiring = active.filter(
      ({ expiresAt }) => expiresAt !== null && Date.parse(expiresAt) < Date.now() + SOON_MS,
    );
    // One whose limit was taken away since counts on in memory, for nothing.
    const limited = (await keysAtLimit())
      .flatMap((id) => byId.get(id) ?? [])
      .filter(({ rateLimit }) => rateLimit !== null);
    const problems = [
      ...recent.map((refusal) => ({ find: FIND_OF[refusal.reason], words: wordsOf(refusal, byId.get(refusal.id)) })),
      ...limited.map((key) => ({ find: FINDS.limited, words: `${named(key)} has used up its own limit` })),
      ...expiring.map((key) => ({ find: FINDS.expiring, words: `${named(key)} expires at ${key.expiresAt}` })),
    ];
    const numberOf = (state: IssuedKeyState["state"]) => all.filter((key) => key.state === state).length;
    const counts = { active: active.length, expired: numberOf("expired"), revoked: numberOf("revoked") };
    return conclude(bounded(problems), `${plural(counts.active, "key")} in force`, {
      ...counts,
      refused: recent.slice(0, TOLD_LIMIT).map(({ lastAt, ...refusal }) => ({
        ...refusal,
        name: byId.get(refusal.id)?.name ?? null,
        lastAt: new Date(lastAt).toISOString(),
      })),
      limited: limited.slice(0, TOLD_LIMIT).map(({ id }) => id),
      expiring: expiring.slice(0, TOLD_LIMIT).map(({ id, name, expiresAt }) => ({ id, name, expiresAt })),
    });
  },
};

const named = ({ id, name }: Pick<IssuedKeyState, "id" | "name">) => `${name} (${id})`;

function wordsOf({ id, reason, count, required }: KeyRefusal, key: IssuedKeyState | undefined): string {
  const who = key === undefined ? id : named(key);
  switch (reason) {
    case "expired":
      return `${who} has expired and was presented ${plural(count, "time")}`;
    case "revoked":
      return `${who} was revoked and was presented ${plural(count, "time")}`;
    case "permission":
      // Others may have lacked something else: what is kept is the last.
      return `${who} lacked ${required} (${count === 1 ? "1 request" : `the last of ${plural(count, "request")}`})`;
    case "address":
      return `${who} was presented from an address that it is not for (${plural(count, "request")})`;
  }
}

function bounded(problems: readonly Problem[]): readonly Problem[] {
  const [last] = problems.slice(TOLD_LIMIT);
  if (last === undefined) return problems;
  const more = { find: last.find, words: `and ${problems.length - TOLD_LIMIT} more` };
  return [...problems.slice(0, TOLD_LIMIT), more];
}
