/** What a request presents to a plane, as the decision on its caller reads it. */
import type { IncomingMessage } from "node:http";
import type { PresentedKeys } from "./presented-keys.ts";
import type { TokenVerdicts } from "./presented-tokens.ts";
import type { Plane } from "./unauthenticated.ts";

/** Keys checked in one place of a request: a client that sends more has not made a mistake, and they are ignored. */
export const CHECKED_LIMIT = 3;

export interface Presentation {
  readonly plane: Plane;
  readonly presented: PresentedKeys;
  /** The client's address: guesses are counted by address. */
  readonly address: string;
  /** Its headers show whether a web page may have sent it. */
  readonly request: Pick<IncomingMessage, "headers" | "rawHeaders" | "url">;
  /** Reads the places of the service's own credential, one list for each; asked only if no other key is valid. */
  readonly placed?: (() => PlacedKeys) | undefined;
  /** What `verifyTokens` found. */
  readonly verdicts?: TokenVerdicts | undefined;
}

export type PlacedKeys = readonly (readonly string[])[];

/** Of all places, at most as many of each as are checked. */
export const keysIn = ({ presented: { bearer, header, query }, placed }: Presentation) =>
  [bearer, header, query, ...(placed?.() ?? [])].flatMap((keys) => keys.slice(0, CHECKED_LIMIT));
