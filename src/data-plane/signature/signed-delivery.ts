/**
 * One signed request, from the check of its signature to the end of its delivery.
 * Invariant: nothing reaches the upstream before the signature over the whole body is valid, and a signature with a time that was
 * delivered once is not delivered again. The client learns only that the signature is not valid.
 */
import { performance } from "node:perf_hooks";
import { GatewayError } from "../../errors.ts";
import type { SharedBudget } from "../../limits/shared-budget.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Exchange } from "../exchange.ts";
import type { Claim } from "./claim.ts";
import type { SignatureCheck } from "./signature-check.ts";
import { FAULT_WORDS, type SignatureFault } from "./signature-fault.ts";
import { decideBodySize, readSignedBody } from "./signed-body.ts";

export interface SignatureParts {
  readonly logger: Logger;
  readonly signedBodies: SharedBudget;
  readonly retryAfterS: number;
}

const EMPTY = Buffer.alloc(0);

/** RFC 9110 section 15.5.2 wants a challenge. No browser asks its user for anything after this one. */
const CHALLENGE = ["WWW-Authenticate", 'Signature realm="ByteProxy"'];

export class SignedDelivery {
  readonly #exchange: Exchange;
  readonly #check: SignatureCheck;
  readonly #parts: SignatureParts;
  readonly #timeoutMs: number;
  #remembered: { readonly id: string; readonly timestamp: number } | undefined;

  /** @param timeoutMs for the body. */
  constructor(exchange: Exchange, check: SignatureCheck, timeoutMs: number, parts: SignatureParts) {
    this.#exchange = exchange;
    this.#check = check;
    this.#parts = parts;
    this.#timeoutMs = timeoutMs;
  }

  /** The refusal; undefined where the signature is valid. The exchange then has the body. @throws GatewayError */
  async decide(): Promise<GatewayError | undefined> {
    const exchange = this.#exchange;
    const check = this.#check;
    const claim = check.claimOf(exchange.req.rawHeaders, Date.now());
    if (typeof claim === "string") return this.#refuse(claim);
    const limits = {
      serviceKey: check.serviceKey,
      maxBodyBytes: check.verify.maxBodyBytes,
      option: "verify.maxBodyBytes",
      bodies: "signed bodies",
      timeoutMs: this.#timeoutMs,
      budget: this.#parts.signedBodies,
      retryAfterS: this.#parts.retryAfterS,
    };
    const oversized = decideBodySize(exchange, limits);
    if (oversized !== undefined) return oversized;
    const body = exchange.hasBody ? await readSignedBody(exchange, limits) : EMPTY;
    exchange.body = body;
    exchange.bodyReadAt = performance.now() - exchange.limitWaitMs;
    const id = check.idOf(claim, body);
    return id === undefined ? this.#refuse("mismatch") : this.#remember(claim, id);
  }

  /** The exchange is over. */
  end(): void {
    const exchange = this.#exchange;
    if (exchange.bytesIn > 0) this.#parts.signedBodies.release(exchange.bytesIn, exchange.clientAddress);
    exchange.body = undefined;
    if (this.#remembered === undefined || wasDelivered(exchange)) return;
    this.#check.replays.forget(this.#remembered.id, this.#remembered.timestamp);
  }

  #remember(claim: Claim, id: string): GatewayError | undefined {
    const { timestamp } = claim;
    if (timestamp === undefined) return undefined;
    const { replays, verify, serviceKey } = this.#check;
    const nowMs = Date.now();
    // Again, because a slow body may have arrived after the signature was dropped from the memory.
    if (this.#check.isStale(claim, nowMs)) return this.#refuse("stale");
    const found = replays.remember(id, timestamp, Math.floor(nowMs / 1_000) - verify.toleranceSeconds);
    if (found === "full") {
      return new GatewayError("UNDER_PRESSURE", {
        message: `${serviceKey} remembers ${replays.size} signatures, and no more.`,
        hint: "Lower `verify.toleranceSeconds` for this service: signatures are then forgotten earlier.",
        headers: ["Retry-After", String(this.#parts.retryAfterS)],
        extra: { pressure: { gauge: "rememberedSignatures", value: replays.size, limit: replays.size } },
      });
    }
    if (found !== "new") return this.#refuse(found);
    this.#remembered = { id, timestamp };
    return undefined;
  }

  #refuse(fault: SignatureFault): GatewayError {
    const { refusals, serviceKey: service, verify } = this.#check;
    const { logger } = this.#parts;
    refusals.note(fault, Date.now());
    const fields = { requestId: this.#exchange.id, service, scheme: verify.scheme, fault };
    // The access line has the same id; a warning for each request of a stranger would hide others.
    logger[fault === "no secret" ? "warn" : "info"](fields, `a signature was refused: ${FAULT_WORDS[fault]}`);
    return new GatewayError("INVALID_SIGNATURE", { headers: CHALLENGE });
  }
}

/** For the dry run, which has no body: what the headers alone decide, for an operator. */
export function decideClaim(check: SignatureCheck, rawHeaders: readonly string[]): GatewayError | undefined {
  const claim = check.claimOf(rawHeaders, Date.now());
  if (typeof claim !== "string") return undefined;
  const message = `The request would be refused: ${FAULT_WORDS[claim]}.`;
  return new GatewayError("INVALID_SIGNATURE", { message });
}

/** The upstream accepted the request; or it may have, and the client left before its response. */
function wasDelivered({ respondedAt, upstreamStatus, attempts, outcome, res }: Exchange): boolean {
  if (respondedAt === 0 && upstreamStatus === 0) return outcome === "client-left" && attempts > 0;
  const status = upstreamStatus || res.statusCode;
  return status >= 200 && status < 300;
}
