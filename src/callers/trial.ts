/** The trial of one request's keys, while they are read one after the other. */
import type { TokenVerdicts } from "./presented-tokens.ts";
import type { EndedKey, Plane, TokenFault } from "./unauthenticated.ts";

/** Digests of the unknown keys in the request. */
export type Guesses = readonly string[] | undefined;

/** What was found so far among the keys of one request. */
export interface Trial {
  readonly plane: Plane;
  readonly address: string;
  readonly now: number;
  readonly isLocked: boolean;
  presented: number;
  checked: number;
  otherPlane: boolean;
  ended?: EndedKey;
  guesses?: Guesses;
  token?: TokenFault;
  readonly verdicts: TokenVerdicts | undefined;
}
