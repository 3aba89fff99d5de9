/**
 * What is kept of a response for replays.
 * Invariant: it is complete, it belongs to no connection and sets no cookie, and it holds no secret of the gateway.
 */
import type { KeptResponse } from "../../stores/claims.ts";
import { connectionOptions } from "../forward/connection-options.ts";
import { type EchoMask, holdsSecret } from "../forward/echo-mask.ts";
import type { ResponseHead } from "../forward/response-sink.ts";
import { HOP_BY_HOP } from "../forward/strip-plan.ts";

/**
 * The upstream says that it did not execute the request: without valid credentials it was not applied (RFC 9110 section 15.5.2), it
 * arrived incompletely or too early, at the wrong server, or beyond a limit; or the upstream runs a request with this key itself (409).
 */
const NOT_EXECUTED: ReadonlySet<number> = new Set([401, 407, 408, 409, 421, 425, 429]);

/** With a time, a 503 invites the client to send the request again (RFC 9110 section 15.6.4). */
export function wasNotExecuted({ status, headers }: ResponseHead): boolean {
  return NOT_EXECUTED.has(status) || (status === 503 && headers["retry-after"] !== undefined);
}

const STREAM = /^(?:text\/event-stream|application\/grpc)\b/i;

/** @param maxBodyBytes of a body that is kept. */
export function mayKeep(head: ResponseHead, maxBodyBytes: number, echoMask: EchoMask | undefined): boolean {
  const { headers } = head;
  if (STREAM.test(String(headers["content-type"] ?? ""))) return false;
  return !(Number(headers["content-length"]) > maxBodyBytes) && !holdsSecret(head, echoMask);
}

const NOT_KEPT: ReadonlySet<string> = new Set([...HOP_BY_HOP, "set-cookie", "set-cookie2", "content-length"]);

export function createKeptResponse({ status, reason, headers }: ResponseHead, body: Buffer): KeptResponse {
  const { connection } = headers;
  const named = connectionOptions(Array.isArray(connection) ? connection.join(",") : connection);
  const kept: Record<string, string | readonly string[]> = Object.create(null);
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined && !NOT_KEPT.has(name) && !named?.has(name)) kept[name] = value;
  }
  if (status !== 204 && status !== 304) kept["content-length"] = String(body.length);
  return { status, reason, headers: kept, body };
}
