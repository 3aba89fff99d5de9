/** What idempotency would do with a request, for an explanation: it claims and sends nothing, and has no body to compare. */
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import { asksForIdempotency, readIdempotencyKey } from "./idempotency-key.ts";
import { conflictError, mismatchError } from "./once-refusals.ts";
import { differenceFrom, digestRequest } from "./request-digest.ts";
import type { ServiceIdempotency } from "./service-idempotency.ts";

export interface ExplainedIdempotency {
  /** `off`: the request passes as without idempotency. `replay` unless its body differs from the first request's. */
  readonly state: "off" | "first" | "replay";
}

const EMPTY = Buffer.alloc(0);

export async function explainIdempotency(
  idempotency: ServiceIdempotency,
  exchange: Exchange,
  request: UpstreamRequest,
): Promise<ExplainedIdempotency | GatewayError> {
  if (!asksForIdempotency(exchange)) return { state: "off" };
  const key = readIdempotencyKey(exchange.req.rawHeaders);
  if (key instanceof GatewayError) return key;
  const { claims, sign, running } = idempotency.context;
  const claimKey = idempotency.claimKeyOf(exchange.callerId, key);
  const found = await claims.find(claimKey, idempotency.now());
  if (found === undefined) return { state: "first" };
  const [, , body = ""] = found.request.split(".");
  const difference = differenceFrom(found.request, { ...digestRequest(request, EMPTY, sign), body });
  if (difference !== undefined) return mismatchError(difference);
  if (found.state === "pending") {
    return conflictError(running.has(claimKey) ? "running" : found.until - idempotency.now());
  }
  return found.response === undefined ? conflictError("not kept") : { state: "replay" };
}
