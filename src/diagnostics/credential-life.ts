/** Problems with the life of a credential: its end, its use, its scopes. */
import { plural } from "../plural.ts";
import type { DiagnosedService, Problem } from "./check.ts";
import { CREDENTIAL_FINDINGS } from "./credential-findings.ts";

const DAY_MS = 86_400_000;
const SOON_MS = 14 * DAY_MS;
const DORMANT_MS = 30 * DAY_MS;

/** @param now ms since the epoch. */
export function lifeProblems(
  { service: { key }, credentialRefusals: { life } }: Pick<DiagnosedService, "service" | "credentialRefusals">,
  now = Date.now(),
): Problem[] {
  if (life === undefined) return [];
  const { expiresAt, isRenewed, since, lastUsedAt, scopes } = life.describe();
  const problems: Problem[] = [];
  if (expiresAt !== undefined && !isRenewed && expiresAt < now + SOON_MS) {
    const isOver = expiresAt <= now;
    const finding = isOver ? CREDENTIAL_FINDINGS.expired : CREDENTIAL_FINDINGS.expiresSoon;
    const verb = isOver ? "expired" : "expires";
    problems.push({ finding, message: `the credential of ${key} ${verb} at ${new Date(expiresAt).toISOString()}` });
  }
  const idleMs = now - (lastUsedAt ?? since);
  if (idleMs > DORMANT_MS) {
    const days = plural(Math.floor(idleMs / DAY_MS), "day");
    problems.push({
      finding: CREDENTIAL_FINDINGS.dormant,
      message: `no request has had the credential of ${key} for ${days}`,
    });
  }
  if (scopes?.unneeded !== undefined && scopes.unneeded.length > 0) {
    const message = `${scopes.responses} responses of ${key} needed none of these scopes of its credential: ${scopes.unneeded.join(", ")}`;
    problems.push({ finding: CREDENTIAL_FINDINGS.unneeded, message });
  }
  return problems;
}
