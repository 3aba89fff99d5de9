/** The gateway's own responses: to a refused or failed exchange, and to a CORS preflight. */
import { STATUS_CODES } from "node:http";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import { proxyChallenges } from "../callers/unauthenticated.ts";
import type { GatewayError } from "../errors.ts";
import type { Cors } from "../perimeter/cors.ts";
import type { Instance } from "../perimeter/instance.ts";
import { discardRest, lingerBeforeClose } from "../perimeter/linger.ts";
import { errorResponse } from "../perimeter/refusals.ts";
import type { Logger } from "../telemetry/logger.ts";
import { cutResponse } from "./client-connection.ts";
import type { Exchange } from "./exchange.ts";

/** The response to a CORS preflight: it needs no caller and counts against nothing. @param headers flat list. */
export function respondToPreflight(exchange: Exchange, headers: readonly string[]): void {
  exchange.outcome = "preflight";
  const own = ["X-Proxy-Request-Id", exchange.id];
  if (exchange.closesConnection) own.push("Connection", "close");
  exchange.res.writeHead(204, [...headers, ...own]);
  exchange.res.end();
}

/** An unread body up to this size is read and discarded, so that the connection can be reused. */
const DRAIN_BYTES_LIMIT = 65_536;

/** Refusals also after an attempt: it may not connect and has sent nothing, or the rest of the request is malformed. */
const REFUSALS: ReadonlySet<string> = new Set(["EGRESS_NOT_ALLOWED", "INVALID_REQUEST", "HEADERS_TOO_LARGE"]);

export interface RefuseParts {
  readonly logger: Logger;
  readonly cors: Cors;
  readonly instance: Instance;
  readonly keyRefusals: Pick<KeyRefusals, "noteError">;
}

export function refuse(exchange: Exchange, error: GatewayError, parts: RefuseParts): void {
  const { logger, cors, instance } = parts;
  const { req, res } = exchange;
  if (exchange.issued !== undefined) parts.keyRefusals.noteError(exchange.issued.id, error);
  if (error.code === "INTERNAL_ERROR") {
    logger.error({ requestId: exchange.id, service: exchange.serviceKey, err: error.cause }, "internal error");
  }
  if (exchange.hasClientLeft || res.closed) {
    exchange.outcome ||= "client-left";
    return;
  }
  const hasFailed = (exchange.attempts > 0 && !REFUSALS.has(error.code)) || error.code === "INTERNAL_ERROR";
  exchange.outcome = `${hasFailed ? "failed" : "refused"}:${error.code}`;
  if (error.cause !== undefined && error.code !== "INTERNAL_ERROR") {
    logger.warn({ requestId: exchange.id, service: exchange.serviceKey, err: error.cause }, error.message);
  }
  if (res.headersSent) {
    cutResponse(res, req.httpVersionMinor > 0);
    return;
  }
  const { status, headers, body } = errorResponse(
    error,
    {
      requestId: exchange.id,
      service: exchange.serviceKey || undefined,
      path: pathOf(exchange),
      contentType: req.headers["content-type"],
    },
    logger.maskKeys,
  );
  if (error.code === "UPSTREAM_CREDENTIAL_MISSING") headers.push(...proxyChallenges(req));
  headers.push(...cors.headersOf(req.headers));
  if (exchange.serviceKey !== "") headers.push("X-Proxy-Service", exchange.serviceKey);
  if (exchange.waitedMs > 0) headers.push("X-Proxy-Queue-Duration", `${Math.round(exchange.waitedMs)}ms`);
  // After a 408 the gateway waits no longer for the client (RFC 9110 section 15.5.9).
  const isKept = error.code !== "REQUEST_TIMEOUT" && canKeepConnection(exchange);
  if (exchange.closesConnection || instance.isDraining || !isKept) {
    headers.push("Connection", "close");
    if (!req.complete) lingerBeforeClose(req);
  } else if (exchange.isUploading) res.once("finish", () => discardRest(req));
  // With its reason phrase: an upstream's own may be left over from a response that could not be relayed.
  res.writeHead(status, STATUS_CODES[status], headers);
  if (exchange.method === "HEAD") {
    res.end();
  } else {
    exchange.bytesOut = Buffer.byteLength(body);
    res.end(body);
  }
}

/** False where the rest of the request is long, unbounded, or uncertain because `100 Continue` was never sent. */
function canKeepConnection(exchange: Exchange): boolean {
  if (!exchange.hasBody || exchange.req.complete) return true;
  return !exchange.expectsContinue && (exchange.announcedBytes ?? Infinity) <= DRAIN_BYTES_LIMIT;
}

/** Without the query, and without the service's prefix where the service is known. */
function pathOf({ url, serviceKey, address }: Exchange): string {
  const path = url.split("?", 1)[0] as string;
  return serviceKey === "" || address !== undefined ? path : path.slice(`/proxy/${serviceKey}`.length) || "/";
}
