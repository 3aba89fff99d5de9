/**
 * A credential of type `pool`: the providers of its credentials, and what they have in common.
 * Invariant: it has a credential as long as one of them has; each of them has its own secrets, tokens and source id.
 */
import { prefixAt } from "../../config/auth-entries.ts";
import type { CredentialSource } from "../../config/credential-source.ts";
import type { PooledState } from "../../config/pooled-state.ts";
import {
  type CredentialPlace,
  type CredentialPool,
  type CredentialProvider,
  type Injection,
  type MissingCredential,
  NOTHING,
  type PoolMember,
} from "./credential-provider.ts";
import { type PoolOptions, RestingPool } from "./resting-pool.ts";

/** One credential of the list `of`. */
export interface PoolEntry {
  readonly provider: CredentialProvider;
  readonly credential: CredentialSource;
  /** Those that masks must know, where they do not change. */
  readonly fixedSecrets: readonly string[];
}

export interface PooledCredentialOptions extends PoolOptions {
  /** The configured sources of the whole pool. */
  readonly credential: CredentialSource;
  /** The pool that this one replaces. */
  readonly previous: CredentialPool | undefined;
}

export class PooledCredential implements CredentialProvider {
  readonly places: readonly CredentialPlace[];
  readonly sourceId: string | undefined;
  readonly pool: CredentialPool | undefined;
  readonly secrets: CredentialProvider["secrets"];
  readonly refresh: CredentialProvider["refresh"];
  readonly #entries: readonly PoolEntry[];
  readonly #options: PooledCredentialOptions;

  constructor(entries: readonly PoolEntry[], options: PooledCredentialOptions) {
    this.#entries = entries;
    this.#options = options;
    const members = membersOf(entries);
    this.pool = members.length === 0 ? undefined : new RestingPool(members, options, options.previous?.memory);
    this.places = members[0]?.provider.places ?? [];
    this.sourceId = this.pool?.id;
    this.secrets = unionOf(entries);
    const renewable = entries.filter(({ provider }) => provider.refresh !== undefined);
    if (renewable.length > 0) this.refresh = () => refreshAll(renewable);
  }

  get missing(): MissingCredential | undefined {
    const all = this.#entries.map(({ provider }) => provider.missing);
    if (all.length > 0 && all.some((each) => each === undefined)) return undefined;
    const found = all.filter((each) => each !== undefined);
    // One that can come by itself is the better hint.
    const shown = found.find(({ isUnavailable }) => isUnavailable) ?? found[0];
    const message = `none of the ${all.length} credentials of its pool is there. The first: ${shown?.message ?? ""}`;
    return shown && { ...shown, message, isRequired: this.#options.isRequired };
  }

  /** Of the credential that is next in the round, for a request outside of the ledger. */
  get(): Injection | Promise<Injection> {
    return this.pool?.choose().provider.get() ?? NOTHING;
  }

  describe(): CredentialSource {
    const { pool } = this;
    const described = this.#entries.map(({ provider, credential }) => provider.describe?.() ?? credential);
    const secrets = described.flatMap((each, index) =>
      each.secrets.map((named) => ({ ...named, name: `${prefixAt(index)}${named.name}` })),
    );
    const of = described.map(({ source, token }, index): PooledState => {
      const member = pool?.members.find((each) => each.index === index);
      const isTwin = member === undefined && this.#entries[index]?.provider.sourceId !== undefined;
      const described = member && pool?.describe(member);
      return {
        source,
        ...(described ?? { state: isTwin ? "twin" : "missing", restsUntil: undefined, refusals: 0 }),
        token,
      };
    });
    return { ...this.#options.credential, secrets, of };
  }

  close(): void {
    for (const { provider } of this.#entries) provider.close?.();
  }
}

/** Those with a secret, or a way to one. Two sources may hold the same secret: it is one account of the upstream. */
function membersOf(entries: readonly PoolEntry[]): PoolMember[] {
  const members = new Map<string, PoolMember>();
  for (const [index, { provider, credential }] of entries.entries()) {
    const { sourceId } = provider;
    if (sourceId !== undefined && !members.has(sourceId)) {
      members.set(sourceId, { index, sourceId, provider, credential });
    }
  }
  return [...members.values()];
}

/** The secrets of all of them; undefined where none changes. The same array until one does. */
function unionOf(entries: readonly PoolEntry[]): CredentialProvider["secrets"] {
  const changing = entries.flatMap(({ provider }) => provider.secrets ?? []);
  if (changing.length === 0) return undefined;
  const fixed = entries.flatMap(({ provider, fixedSecrets }) => (provider.secrets === undefined ? fixedSecrets : []));
  let parts: readonly (readonly string[])[] = [];
  let union: readonly string[] = [];
  return () => {
    const current = changing.map((secretsOf) => secretsOf());
    if (current.some((each, index) => each !== parts[index])) {
      parts = current;
      union = [...new Set([...fixed, ...current.flat()])];
    }
    return union;
  };
}

async function refreshAll(entries: readonly PoolEntry[]): Promise<string | undefined> {
  const failures = await Promise.all(entries.map(({ provider }) => provider.refresh?.()));
  return failures.find((failure) => failure !== undefined);
}
