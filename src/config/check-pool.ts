/**
 * What must fit together in a credential of type `pool`.
 * Invariant: a request may be sent with any credential of the pool, so all of them have the same places, and each is another one.
 */
import { isDeepStrictEqual } from "node:util";
import type { z } from "zod";
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { placementsOf } from "./placements.ts";
import type { WsDefinition } from "./ws-schema.ts";

interface WithPool {
  readonly auth?: AuthDefinition | undefined;
  readonly ws: WsDefinition;
}

/** @param refinement of the service. */
export function checkPool({ auth, ws }: WithPool, refinement: z.RefinementCtx): void {
  if (auth?.type !== "pool") return;
  const entries = entriesOf(auth);
  const [first] = entries;
  for (const [index, entry] of entries.entries()) {
    const problem = (message: string, ...path: PropertyKey[]) =>
      refinement.addIssue({ code: "custom", path: ["auth", "of", index, ...path], message });
    // A login is for a service, and would have to name the entry.
    if (entry.auth.refreshToken !== undefined) problem("a credential without a login", "refreshToken");
    const earlier = entries.slice(0, index);
    if (first === undefined || earlier.length === 0) continue;
    if (entry.auth.type !== first.auth.type) problem(`the type of the first credential, ${first.auth.type}`, "type");
    else if (!isDeepStrictEqual(describe(entry.auth, ws), describe(first.auth, ws))) {
      problem("the places and the names of secrets of the first credential");
    } else if (earlier.some((other) => isDeepStrictEqual(other.auth, entry.auth))) {
      problem("another credential than those before it");
    }
  }
}

/** Where the secrets are sent. The user name of `basic` may differ: it belongs to the account. */
function describe(auth: AuthDefinition, ws: WsDefinition) {
  return placementsOf(auth, ws).map(({ kind, name, template: { texts, placeholders } }) => [
    kind,
    kind === "header" ? name.toLowerCase() : name,
    texts,
    placeholders.map(({ secret, encoding }) => [secret, encoding]),
  ]);
}
