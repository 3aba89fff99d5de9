/** A browser's question whether a page may ask: answered before anyone authenticates, and counted against nothing. */
import type { Exchange } from "./exchange.ts";

/** @param headers as the CORS policy grants them, a flat list. */
export function answerPreflight(exchange: Exchange, headers: readonly string[]): void {
  exchange.outcome = "preflight";
  const own = ["X-Proxy-Request-Id", exchange.id];
  if (exchange.closesConnection) own.push("Connection", "close");
  exchange.res.writeHead(204, [...headers, ...own]);
  exchange.res.end();
}
