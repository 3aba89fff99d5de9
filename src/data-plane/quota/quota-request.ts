/** An exchange as its quota sees it: what it asks for, and the refusal in the gateway's words. */
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import type { Exchange } from "../exchange.ts";
import type { PreparedCredential } from "../inject-credential/inject-credential.ts";
import type { QuotaRefusal, QuotaRequest } from "./ticket.ts";

/** What is known of an exchange when its quota is asked. */
export interface QuotaExchange {
  readonly exchange: Exchange;
  readonly service: Pick<Service, "key" | "timeoutMs">;
  /** Behind the base URL. */
  readonly path: string;
  readonly credential: PreparedCredential;
  /** Flat list, as they go upstream. */
  readonly headers: readonly string[];
}

/** Beyond the deadline of its answer, ms: until then what is set aside for a request stays so. */
const LEASE_MARGIN_MS = 1_000;

export function requestOf({ exchange, service, path }: QuotaExchange, maxWaitMs: number): QuotaRequest {
  return {
    method: exchange.method,
    path,
    callerId: exchange.callerId,
    maxWaitMs,
    leaseMs: service.timeoutMs + LEASE_MARGIN_MS,
  };
}

/** @param now ms since the epoch. */
export function quotaRefusal({ bucket, retryAt, reason }: QuotaRefusal, serviceKey: string, now: number): GatewayError {
  if (reason === "draining") {
    const message = `The gateway ends before ${serviceKey} would take another request.`;
    return new GatewayError("SHUTTING_DOWN", { message });
  }
  const seconds = Math.max(1, Math.ceil((retryAt - now) / 1_000));
  const why = reason === "queue full" ? "as many requests as may are waiting for it" : "it has no room in time";
  const room = `It has room again in ${plural(seconds, "second")}.`;
  return new GatewayError("UPSTREAM_QUOTA_EXHAUSTED", {
    message: `What ${serviceKey} allows is used up, and ${why}. ${room}`,
    headers: ["Retry-After", String(seconds)],
    extra: { quota: { bucket, reason, retryAt: new Date(retryAt).toISOString() } },
  });
}
