/**
 * Reads a whole body into memory before its request is forwarded: to check its signature, or to find the response to an equal request.
 * Invariant: its bytes, its time and the memory of all such bodies are bounded, because every client can send one.
 */
import { GatewayError } from "../../errors.ts";
import type { SharedBudget } from "../../limits/shared-budget.ts";
import { onMalformedRest } from "../../perimeter/malformed-rest.ts";
import type { Exchange } from "../exchange.ts";
import { RequestBody } from "../forward/request-body.ts";

export interface BodyLimits {
  readonly serviceKey: string;
  readonly maxBodyBytes: number;
  /** The option that sets `maxBodyBytes`, and what such bodies are called. */
  readonly option: string;
  readonly bodies: string;
  /** Instead of the one about the option. */
  readonly hint?: string;
  /** For the whole body. */
  readonly timeoutMs: number;
  readonly budget: SharedBudget;
  /** Of the Retry-After where the budget is used up, seconds. */
  readonly retryAfterS: number;
}

/** The refusal of a body that announces too much. */
export function decideBodySize({ announcedBytes = 0 }: Exchange, limits: BodyLimits): GatewayError | undefined {
  return announcedBytes > limits.maxBodyBytes ? tooLarge(limits) : undefined;
}

/** @throws GatewayError, also where the client has left. */
export async function readSignedBody(exchange: Exchange, limits: BodyLimits): Promise<Buffer> {
  const { req, res } = exchange;
  // HTTP/1.0 has no interim responses (RFC 9110 section 10.1.1).
  if (exchange.expectsContinue && req.httpVersionMinor > 0) res.writeContinue();
  let failure: GatewayError | undefined;
  const fail = (error: GatewayError) => {
    failure ??= error;
    upload.cancel(failure);
  };
  const upload = new RequestBody(req, (length) => {
    exchange.bytesIn += length;
    if (!limits.budget.take(length, exchange.clientAddress)) fail(outOfMemory(limits));
    if (exchange.bytesIn > limits.maxBodyBytes) fail(tooLarge(limits));
  });
  const timer = setTimeout(() => fail(tooSlow(limits)), limits.timeoutMs);
  onMalformedRest(req, fail);
  exchange.onClose = () => fail(new GatewayError("REQUEST_TIMEOUT", { message: "The client left." }));
  try {
    if (failure !== undefined) throw failure;
    return await upload.collect();
  } finally {
    clearTimeout(timer);
    exchange.onClose = undefined;
  }
}

function tooLarge({ serviceKey, maxBodyBytes, option, bodies, hint }: BodyLimits): GatewayError {
  return new GatewayError("PAYLOAD_TOO_LARGE", {
    message: `${serviceKey} accepts ${bodies} of at most ${maxBodyBytes} bytes.`,
    hint: hint ?? `Send a smaller body, or raise \`${option}\` for this service.`,
  });
}

function tooSlow({ serviceKey, timeoutMs, bodies }: BodyLimits): GatewayError {
  return new GatewayError("REQUEST_TIMEOUT", {
    message: `One of the ${bodies} for ${serviceKey} did not arrive within ${timeoutMs} ms.`,
  });
}

/** The refusal where the bodies of all clients need too much memory. */
export function outOfMemory({
  serviceKey,
  budget: { taken, limit },
  retryAfterS,
}: Pick<BodyLimits, "serviceKey" | "budget" | "retryAfterS">): GatewayError {
  return new GatewayError("UNDER_PRESSURE", {
    message: `The gateway holds ${taken} bytes of bodies that are read before they are forwarded, for ${serviceKey} and others; the limit is ${limit}, and half of it for one address.`,
    headers: ["Retry-After", String(retryAfterS)],
    extra: { pressure: { gauge: "signedBodies", value: taken, limit } },
  });
}
