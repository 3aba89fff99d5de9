/** The end of every exchange: one access line. */
import type { Logger } from "../telemetry/logger.ts";
import type { Exchange } from "./exchange.ts";

export function record(exchange: Exchange, logger: Logger): void {
  if (!logger.isAccessLogged) return;
  const now = performance.now();
  const { startedAt, answeredAt } = exchange;
  logger.access({
    requestId: exchange.id,
    service: exchange.serviceKey,
    method: exchange.method,
    // A path is anything that a caller made up, a key by mistake among it: `/x%3Fapi_key=<key>`.
    url: logger.maskKeys(exchange.req.url as string),
    // 499 is what nginx calls a client that did not wait.
    status: exchange.outcome === "client-left" ? 499 : exchange.res.statusCode,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    durationUs: Math.round((now - startedAt) * 1000),
    upstreamUs: answeredAt === 0 ? 0 : Math.round((answeredAt - startedAt) * 1000),
    attempts: exchange.attempts,
    client: exchange.clientAddress,
    caller: exchange.callerId,
    outcome: exchange.outcome,
  });
}
