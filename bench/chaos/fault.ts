/** The contract of a fault. */
import type { Stage } from "./stage.ts";
import type { Outcome } from "./tally.ts";

export interface Fault {
  /** For `--only` and the table: kebab-case. */
  readonly name: string;
  /** Each of these outcomes must occur at least once on the affected service. */
  readonly shows: readonly Outcome[];
  /** These outcomes may occur, too. */
  readonly mayShow?: readonly Outcome[];
  /** It affects the gateway itself: it runs on a gateway of its own, and the neighbour may see the same outcomes. */
  readonly affectsGateway?: { readonly openFiles?: number };
  /** Called under load. @throws if the gateway makes an error that no request shows. */
  begin(stage: Stage): Promise<void> | void;
  end(stage: Stage): Promise<void> | void;
}
