/**
 * The tokens among the keys of a request: those that have to be verified before it is decided, and what each verdict means for it.
 * Invariant: a verdict is for one request, unless the token is valid: only then it is kept, by the verifier.
 */
import type { KeyFault } from "./key-refusals.ts";
import { digestOf } from "./presented-keys.ts";
import type { TokenKey } from "./token-key.ts";
import { hasTokenForm, type TokenVerdict, type TokenVerifier } from "./token-verifier.ts";
import type { Plane, TokenFault } from "./unauthenticated.ts";

/** By the text of the token. */
export type TokenVerdicts = ReadonlyMap<string, TokenVerdict>;

export const FAULT_OF_TOKEN: Readonly<Record<TokenFault, KeyFault>> = {
  expired: "an expired token",
  invalid: "an invalid token",
  unavailable: "a token that could not be verified",
};

/** Undefined if nothing has to be verified. @param isChecked by the digest of a token. */
export function verifyUnknown(
  keys: readonly string[],
  tokens: TokenVerifier,
  isChecked: (digest: string) => boolean,
): Promise<TokenVerdicts> | undefined {
  const unknown = keys.filter((key) => {
    if (!hasTokenForm(key)) return false;
    const digest = digestOf(key);
    return tokens.find(digest) === undefined && isChecked(digest);
  });
  return unknown.length === 0 ? undefined : verifyAll(new Set(unknown), tokens);
}

async function verifyAll(texts: Iterable<string>, tokens: TokenVerifier): Promise<TokenVerdicts> {
  return new Map(await Promise.all([...texts].map(async (text) => [text, await tokens.verify(text)] as const)));
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

/** A token without a verdict was not verified, because the request is refused for another reason. */
function cached(tokens: TokenVerifier, digest: string): TokenVerdict {
  const key = tokens.find(digest);
  return key === undefined ? { state: "invalid", isGuess: false } : { state: "valid", key };
}
