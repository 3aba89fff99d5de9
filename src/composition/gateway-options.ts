/** What the opener of a gateway may give it beside its configuration. */
import type { AuditEntry } from "../callers/audit.ts";
import type { StoredKey } from "../callers/issued-key.ts";
import type { LoadConfig } from "../config/load-config.ts";
import type { CacheClock } from "../data-plane/cache/service-cache.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import type { StoredService } from "../services/stored-services.ts";
import type { Stores } from "../stores/open-stores.ts";
import type { LineSink } from "../telemetry/logger.ts";

export interface GatewayOptions {
  /** Receives the lines of the log instead of stdout. */
  readonly logSink?: LineSink;
  /** Reads the configuration again, for a reload. @throws ConfigProblems */
  readonly load?: LoadConfig;
  /** Where changes are stored; in memory by default. They are closed with the gateway. */
  readonly stores?: GatewayStores;
  /** The clocks of the caches of services; the system's by default. */
  readonly cacheClock?: CacheClock;
  /** By which windows of token budgets begin and end, ms since the epoch; the system's by default. */
  readonly budgetClock?: () => number;
  /** For diagnostics without a running gateway: the parts are created, and nothing listens. */
  readonly offline?: OfflineState;
}

export type GatewayStores = Stores<StoredService, AuditEntry, StoredKey>;
