/** The steps of a request that a budget counts, or whose model is restricted, as far as its head decides them. */
import type { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { decideBudget } from "./admit-budget.ts";
import { decideModelByHead } from "./prepare-request.ts";
import type { Spend } from "./spend.ts";
import type { Spending } from "./spending.ts";

interface Requested {
  readonly route: Route;
  readonly isUpgrade: boolean;
}

interface Walking {
  readonly walk: { admit(step: string, verdict: GatewayError | undefined): unknown };
  readonly parts: { readonly spending: Spending };
}

/** Neither step spends anything: before the rate limits, which do. @throws GatewayError where `admit` throws. */
export async function walkBudget(
  spend: Spend,
  exchange: Exchange,
  { route, isUpgrade }: Requested,
  { walk, parts }: Walking,
): Promise<void> {
  if (spend.models.length > 0) walk.admit("model", decideModelByHead(spend, exchange, route, isUpgrade));
  if (spend.isCounting) walk.admit("budget", await decideBudget(spend, parts.spending));
}
