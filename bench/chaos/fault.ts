/** What a fault consists of. */
import type { Stage } from "./stage.ts";
import type { Outcome } from "./tally.ts";

export interface Fault {
  /** For `--only` and the table: kebab-case. */
  readonly name: string;
  /** Outcomes that each must be met at least once on the service that is hurt. */
  readonly shows: readonly Outcome[];
  /** Outcomes that may be met besides. */
  readonly mayShow?: readonly Outcome[];
  /** It strikes the gateway itself: it gets one of its own, and the neighbour may meet the same. */
  readonly strikesGateway?: { readonly openFiles?: number };
  /** Under load. @throws when the gateway does something wrong that no request shows. */
  begin(stage: Stage): Promise<void> | void;
  end(stage: Stage): Promise<void> | void;
}
