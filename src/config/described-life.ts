/** The life of a credential, as operators see it. Times are RFC 3339. */

/** Times are ms since the epoch. */
export interface CredentialLifeState {
  /** Undefined where it is not known. */
  readonly expiresAt: number | undefined;
  /** The gateway replaces the credential before that. */
  readonly isRenewed: boolean;
  /** The first start with it. */
  readonly since: number;
  /** Undefined if no request has had it. */
  readonly lastUsedAt: number | undefined;
  /** Undefined for an upstream that does not name them. */
  readonly scopes: ScopeState | undefined;
}

export interface ScopeState {
  readonly granted: readonly string[];
  /** Undefined before enough responses, and where it is not known. */
  readonly unneeded: readonly string[] | undefined;
  readonly responses: number;
  readonly since: number;
}

export function describeLife({ expiresAt, isRenewed, since, lastUsedAt, scopes }: CredentialLifeState) {
  return {
    expiresAt: written(expiresAt),
    renewedBy: isRenewed ? ("gateway" as const) : ("operator" as const),
    since: new Date(since).toISOString(),
    lastUsedAt: written(lastUsedAt),
    scopes: scopes === undefined ? null : describeScopes(scopes),
  };
}

function describeScopes({ granted, unneeded, responses, since }: ScopeState) {
  return { granted, unneeded: unneeded ?? null, responses, since: new Date(since).toISOString() };
}

function written(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}
