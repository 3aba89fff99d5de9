/**
 * The credentials of a pool by themselves; every other `auth` is one credential.
 * Invariant: `of[1].token` names the secret `token` of the second credential of a pool; no other secret has a name with a bracket.
 */
import type { AuthDefinition } from "./auth-schema.ts";

export interface AuthEntry {
  /** Of a pool's credential: with `required`, because the pool decides what happens without it. */
  readonly auth: AuthDefinition;
  /** Of the names of its secrets: `of[1].`, or empty. */
  readonly prefix: string;
  /** From the root of the service. */
  readonly path: readonly PropertyKey[];
}

export function entriesOf(auth: AuthDefinition): readonly AuthEntry[] {
  if (auth.type !== "pool") return [{ auth, prefix: "", path: ["auth"] }];
  return (auth.of ?? []).map((entry, index) => ({
    auth: { ...entry, required: true },
    prefix: prefixAt(index),
    path: ["auth", "of", index],
  }));
}

export const prefixAt = (index: number) => `of[${index}].`;

/** The index of the pool's credential to which a secret belongs; undefined for a secret of another `auth`. */
export function indexOfSecret(name: string): number | undefined {
  const found = /^of\[(\d+)\]\./.exec(name)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The credential to which a secret belongs, and its name there. */
export function entryOfSecret(
  auth: AuthDefinition,
  name: string,
): { readonly auth: AuthDefinition; readonly name: string } {
  const index = indexOfSecret(name);
  const entry = index === undefined ? undefined : entriesOf(auth)[index];
  return entry === undefined ? { auth, name } : { auth: entry.auth, name: name.slice(entry.prefix.length) };
}

/** The first credential: the places of all of them are the same. */
export function firstEntry(auth: AuthDefinition): AuthDefinition {
  return entriesOf(auth)[0]?.auth ?? auth;
}
