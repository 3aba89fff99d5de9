/**
 * The tokens among the keys of a request: those that have to be verified before it is decided, and what each verdict means for it.
 * Invariant: a verdict is for one request, unless the token is valid: only then it is kept, by the verifier.
 */
import type { IsKey } from "./carried-keys.ts";
import type { KeyFault } from "./key-refusals.ts";
import type { LockOut } from "./lock-out.ts";
import { digestOf } from "./presented-keys.ts";
import { hasTokenForm } from "./token-form.ts";
import type { TokenKey } from "./token-key.ts";
import type { TokenVerdict, TokenVerifier } from "./token-verifier.ts";
import type { Plane, TokenFault } from "./unauthenticated.ts";

/** By the text of the token. */
export type TokenVerdicts = ReadonlyMap<string, TokenVerdict>;

export const FAULT_OF_TOKEN: Readonly<Record<TokenFault, KeyFault>> = {
  expired: "an expired token",
  invalid: "an invalid token",
  unavailable: "a token that could not be verified",
};

/**
 * The verdicts on all tokens that are checked, also on the known ones: they may be forgotten until the others are verified.
 * @returns undefined if nothing has to be verified. @param isChecked whether the lock-out lets the token be checked.
 */
export function verifyUnknown(
  keys: readonly string[],
  { tokens, address }: { readonly tokens: TokenVerifier; readonly address: string },
  isChecked: (token: string) => boolean,
): Promise<TokenVerdicts> | undefined {
  const texts = new Set(keys.filter((key) => hasTokenForm(key) && isChecked(key)));
  const known = new Map<string, TokenVerdict>();
  for (const text of texts) {
    const key = tokens.find(digestOf(text));
    if (key !== undefined) known.set(text, { state: "valid", key });
  }
  if (known.size === texts.size) return undefined;
  const verdictOf = async (text: string) => known.get(text) ?? (await tokens.verify(text, address));
  return Promise.all([...texts].map(async (text) => [text, await verdictOf(text)] as const)).then(
    (verdicts) => new Map(verdicts),
  );
}

/** A caller's tokens change: during a lock-out it is known by the name in its token, which is verified afterwards. */
export function createExemption({ isExempt }: LockOut, tokens: TokenVerifier | undefined) {
  return (key: string, digest: string, { address, now }: { readonly address: string; readonly now: number }) => {
    if (isExempt(address, digest, now)) return true;
    const claimed = tokens?.claimedCaller(key);
    return claimed !== undefined && isExempt(address, claimed, now);
  };
}

/** The same, and true for tokens that are for this gateway. */
export function orToken(isKey: IsKey, tokens: TokenVerifier | undefined): IsKey {
  if (tokens === undefined) return isKey;
  const { isForGateway, isWithin } = tokens;
  return Object.assign((text: string) => isKey(text) || isForGateway(text), { isWithin });
}

interface TokenTrial {
  readonly plane: Plane;
  readonly verdicts: TokenVerdicts | undefined;
  otherPlane: boolean;
  guesses?: readonly string[] | undefined;
  token?: TokenFault;
}

interface Judged {
  readonly digest: string;
  readonly tokens: TokenVerifier;
  readonly trial: TokenTrial;
}

/** What a valid token grants; otherwise the trial shows what was wrong with it. */
export function judgeToken(text: string, { digest, tokens, trial }: Judged): TokenKey | undefined {
  const guess = () => {
    trial.guesses = [...(trial.guesses ?? []), digest];
  };
  if (trial.plane === "management") {
    // No token opens the plane, so none of them is tried.
    if (tokens.isForGateway(text)) trial.otherPlane = true;
    else guess();
    return undefined;
  }
  const verdict = trial.verdicts?.get(text) ?? cached(tokens, digest);
  if (verdict.state === "valid") return verdict.key;
  if (verdict.state === "invalid" && verdict.isGuess) guess();
  if (trial.token === undefined || trial.token === "invalid") trial.token = verdict.state;
  return undefined;
}

/** A token without a verdict was in no place of a key when the tokens were verified: the service has changed since. */
function cached(tokens: TokenVerifier, digest: string): TokenVerdict {
  const key = tokens.find(digest);
  return key === undefined ? { state: "unavailable" } : { state: "valid", key };
}
