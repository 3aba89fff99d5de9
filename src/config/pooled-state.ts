/** What became of one credential of a pool, for operators. Times are ms since the epoch. */
import { type DescribedToken, describeToken, type TokenState } from "./token-state.ts";

export interface PooledState {
  /** Its sources, for messages. */
  readonly source: string;
  /** `unavailable`: its command or token endpoint fails; `twin`: an earlier one has the same secret. */
  readonly state: "ready" | "resting" | "unavailable" | "missing" | "twin";
  /** Undefined unless it rests. */
  readonly restsUntil: number | undefined;
  /** How often the upstream refused it with 401. */
  readonly refusals: number;
  readonly token: TokenState | undefined;
}

/** Times are RFC 3339. */
export interface DescribedPoolEntry extends Omit<PooledState, "restsUntil" | "token"> {
  readonly restsUntil: string | null;
  readonly token?: DescribedToken;
}

/** Undefined for a single credential. */
export function describePool(of: readonly PooledState[] | undefined): DescribedPoolEntry[] | undefined {
  return of?.map(({ source, state, restsUntil, refusals, token }) => {
    const described = describeToken(token);
    return {
      source,
      state,
      restsUntil: restsUntil === undefined ? null : new Date(restsUntil).toISOString(),
      refusals,
      ...(described === undefined ? {} : { token: described }),
    };
  });
}
