/**
 * A request to a service whose rate limit lets requests wait (`onLimit: wait`).
 * Invariant: the request goes on with a point of the limit and with its slots, or it is refused; a request that may not be sent any
 * more when its turn comes spends no point.
 */
import { GatewayError } from "../errors.ts";
import type { EndReason, LimitOutcome, LimitRefusalReason, LimitRequest } from "../limits/limit-line.ts";
import type { LimitForecast } from "../limits/limit-queue.ts";
import type { LimitState } from "../limits/limit-state.ts";
import type { Limiter } from "../limits/limiters.ts";
import { refusalFields, secondsToReset } from "../limits/rate-limit-fields.ts";
import { plural } from "../plural.ts";
import type { Exchange } from "./exchange.ts";
import { maxWaitMs } from "./preferred-wait.ts";
import type { PreparedService } from "./prepared-service.ts";
import { reacquireSlots, type SlotParts } from "./reacquire-slots.ts";
import { startWaiting } from "./waiting-client.ts";

type WaitingRoom = NonNullable<Limiter["waitingRoom"]>;

export interface LimitWaitParts extends SlotParts {
  /** The refusal of a request whose key ended, or was changed, while it waited. */
  readonly decideCallerAgain: () => GatewayError | undefined;
  /** The state after a point that was spent together with those of other limits; undefined where none was. */
  readonly spent: LimitState | undefined;
}

/** How long a request would wait. */
export type WaitForecast = Extract<LimitForecast, { readonly kind: "sent" }>;

/** @returns the refusal, or the state of the limit; undefined where the limit was removed meanwhile. @throws GatewayError */
export async function waitForLimit(
  exchange: Exchange,
  prepared: PreparedService,
  room: WaitingRoom,
  parts: LimitWaitParts,
): Promise<LimitState | GatewayError | undefined> {
  const request = limitRequest(exchange, room);
  let stopWaiting: (() => void) | undefined;
  const onQueued = (leave: () => void) => {
    stopWaiting = startWaiting(exchange, leave);
  };
  const admitted = room.queue.admit(request, onQueued, parts.spent);
  try {
    const outcome = await admitted.finally(() => stopWaiting?.());
    const { kind } = outcome;
    if (kind === "refused") return refusalOf(outcome, prepared.service.key);
    if (kind === "left") throw new GatewayError("REQUEST_TIMEOUT", { message: "The client left." });
    const ended = stopWaiting && parts.decideCallerAgain();
    if (ended !== undefined) return ended;
    if (stopWaiting !== undefined) await reacquireSlots(exchange, prepared, request.maxWaitMs, parts);
    return kind === "admitted" ? outcome.state : undefined;
  } finally {
    exchange.limitWaitMs = exchange.queuedMs;
    exchange.earlierWaitMs = exchange.queuedMs;
    exchange.queuedMs = 0;
  }
}

/** What would happen to the request now. Nothing is spent. */
export function forecastLimit(
  exchange: Exchange,
  { service }: PreparedService,
  room: WaitingRoom,
  state: LimitState,
): WaitForecast | GatewayError {
  const forecast = room.queue.forecast(limitRequest(exchange, room), state);
  return forecast.kind === "sent" ? forecast : refusalOf(forecast, service.key);
}

function limitRequest(exchange: Exchange, room: WaitingRoom): LimitRequest {
  const { callerId, clientAddress: address, party, issued, req } = exchange;
  return {
    subject: { callerId, address },
    party,
    maxWaitMs: maxWaitMs(req.headers.prefer, room.maxWaitMs, 0),
    isOver: issued && (() => issued.isOver),
  };
}

const WHY: Readonly<Record<Exclude<LimitRefusalReason, EndReason>, string>> = {
  "too long": "this request may not wait that long",
  "queue full": "the queue is full",
};

function refusalOf({ reason, state }: Extract<LimitOutcome, { kind: "refused" }>, serviceKey: string): GatewayError {
  if (reason === "draining") {
    const message = `The gateway is shutting down, and the rate limit of ${serviceKey} would not allow this request before that.`;
    return new GatewayError("SHUTTING_DOWN", { message });
  }
  if (reason === "removed") {
    const message = `The service ${serviceKey} was removed while the request waited for its rate limit.`;
    return new GatewayError("SERVICE_NOT_CONFIGURED", { message });
  }
  const seconds = secondsToReset(state);
  return new GatewayError("RATE_LIMIT_EXCEEDED", {
    message: `Rate limit exceeded for ${serviceKey}, and ${WHY[reason]}. It allows this request in ${plural(seconds, "second")}.`,
    headers: refusalFields(state, Date.now()),
    hint: "Wait for the number of seconds in Retry-After, send a longer `Prefer: wait=<s>`, or raise `rateLimit` for this service.",
    extra: { rateLimit: { reason, retryAfter: seconds } },
  });
}
