/** What became of one credential of a pool, for operators. Times are ms since the epoch. */
import type { TokenState } from "./token-state.ts";

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
