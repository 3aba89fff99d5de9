/** The access token of a credential whose tokens the gateway obtains. */

/** What became of the access token of a service. Times are ms since the epoch. Never a part of a token. */
export interface TokenState {
  /** `none`: no request has needed it yet. `failing`: the last fetch failed; an earlier token may still be used. */
  readonly state: "none" | "ready" | "failing";
  /** Undefined without a token, and for one whose end is not known. */
  readonly expiresAt: number | undefined;
  /** As the token endpoint granted it. */
  readonly scope: string | undefined;
  /** The last fetch that gave a token. */
  readonly renewedAt: number | undefined;
  /** Completes "the token endpoint …"; undefined while it works. */
  readonly failure: string | undefined;
}

/** For operators. Times are RFC 3339. */
export interface DescribedToken {
  readonly state: TokenState["state"];
  readonly expiresAt: string | null;
  readonly scope: string | null;
  readonly renewedAt: string | null;
  readonly failure: string | null;
}

/** Undefined for a credential whose secrets are sent as they are. */
export function describeToken(token: TokenState | undefined): DescribedToken | undefined {
  if (token === undefined) return undefined;
  const { state, expiresAt, scope, renewedAt, failure } = token;
  const written = (at: number | undefined) => (at === undefined ? null : new Date(at).toISOString());
  return {
    state,
    expiresAt: written(expiresAt),
    scope: scope ?? null,
    renewedAt: written(renewedAt),
    failure: failure ?? null,
  };
}
