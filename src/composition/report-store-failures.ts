/** Logs what was unreadable when the stores were opened, and what cannot be written later, which no request waits for. */
import { plural } from "../plural.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { GatewayStores } from "./gateway-options.ts";

export function reportStoreFailures(stores: GatewayStores, logger: Logger): void {
  const { damagedLines } = stores.audit;
  if (damagedLines > 0) {
    logger.warn(
      `${plural(damagedLines, "line")} of the audit log could not be read; audit.jsonl.damaged contains the unreadable part`,
    );
  }
  if (stores.damagedClaims > 0) {
    const text = "of the claims of idempotent requests could not be read; claims.jsonl.damaged contains them";
    logger.error(`${plural(stores.damagedClaims, "line")} ${text}`);
  }
  const text = "the state of quotas, of the use of keys, or of idempotent requests could not be written";
  stores.onWriteFailure = (error) => logger.error({ err: error }, text);
}
