/** The end of every exchange: two metric series, and one line for the log, for the list of recent exchanges and for readers of events. */
import { performance } from "node:perf_hooks";
import type { UserHooks } from "../hooks/user-hooks.ts";
import type { EventFeed } from "../telemetry/event-feed.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { RecentExchanges } from "../telemetry/recent-exchanges.ts";
import type { Exchange } from "./exchange.ts";

export interface RecordParts {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly recentExchanges: Pick<RecentExchanges, "add">;
  readonly events: Pick<EventFeed, "hasReaders" | "exchange">;
  /** Undefined without user hooks. */
  readonly hooks: UserHooks | undefined;
}

export function record(exchange: Exchange, { logger, metrics, recentExchanges, events, hooks }: RecordParts): void {
  const { startedAt, respondedAt, attempts, outcome, method, serviceKey, queuedMs, limitWaitMs, waitedMs } = exchange;
  const now = performance.now();
  const askedAt = startedAt + waitedMs + exchange.hooksMs;
  const durationMs = now - startedAt;
  // nginx's status for a client that closed the connection first.
  const status = outcome === "client-left" ? 499 : exchange.res.statusCode;
  const { statusCode } = exchange.res;
  const time = Date.now();
  if (respondedAt !== 0 || exchange.upstreamStatus !== 0) noteVerdict(exchange, logger, time);
  // A WebSocket has no body.
  if (respondedAt !== 0 && statusCode !== 101) exchange.times?.note(respondedAt - askedAt, now - respondedAt);
  const retries = Math.max(0, attempts - 1);
  metrics.observe({ service: serviceKey, method, status, durationMs, queuedMs, limitWaitMs, outcome, retries });
  const line = {
    time,
    requestId: exchange.id,
    service: serviceKey,
    method,
    url: exchange.url,
    host: exchange.address === undefined ? undefined : (exchange.req.headers.host ?? ""),
    status,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    durationUs: Math.round(durationMs * 1000),
    upstreamUs: respondedAt === 0 ? 0 : Math.round((respondedAt - askedAt) * 1000),
    queuedUs: Math.round(waitedMs * 1000),
    quota: exchange.quotaOutcome,
    cache: exchange.cache?.state,
    idempotency: exchange.idempotency,
    tokens: exchange.spend?.tokens,
    attempts,
    client: exchange.clientAddress,
    caller: exchange.callerId,
    outcome,
  };
  recentExchanges.add(line);
  if (logger.isAccessLogged) logger.access(line);
  if (events.hasReaders) events.exchange(line);
  if (hooks?.hasOnComplete && outcome !== "preflight") hooks.complete(line, logger.maskKeys);
}

/** Reports an upstream's 401 or 403 to the gateway's own credential; the caller receives the response unchanged. */
function noteVerdict(exchange: Exchange, logger: Logger, time: number): void {
  const { credentialRefusals, res, upstreamStatus, serviceKey: service } = exchange;
  const life = credentialRefusals?.life;
  if (life !== undefined && exchange.wasSent) {
    life.lastUsedAt = time;
    if (time >= life.saveAt) life.save(time);
  }
  const statusCode = upstreamStatus || res.statusCode;
  if (credentialRefusals !== undefined && statusCode < 400) credentialRefusals.accepted++;
  if (statusCode !== 401 && statusCode !== 403) return;
  if (!credentialRefusals?.note(statusCode, time)) return;
  logger.warn({ service, status: statusCode }, `${service} responded ${statusCode} to its credential`);
}
