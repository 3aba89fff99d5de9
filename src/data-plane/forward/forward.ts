/**
 * The way to the upstream and back: attempt, retry, relay.
 * Invariant: only what is replayable goes twice, and everything up to the answer's headers fits into one deadline.
 */
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { Attempt, DEFAULT_IDLE_MS } from "./attempt.ts";
import { Deadline, type Expiry } from "./deadline.ts";
import { type BodyWatcher, RequestBody, readWhole } from "./request-body.ts";
import { backoffMs, isIdempotent, isRetriableStatus, REPLAY_BODY_BYTES_LIMIT, retryAfterMs } from "./retry.ts";
import type { AnswerHeaders } from "./transport.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** Resolves when the exchange is over on both sides. @throws GatewayError while nothing of an answer was sent. */
export async function forward(
  exchange: Exchange,
  route: Route,
  upstreamRequest: UpstreamRequest,
  publicBase: () => string,
): Promise<void> {
  const { service, transport } = route.prepared;
  let attempt: Attempt | undefined;
  let stream: RequestBody | undefined;
  let isReadingWhole = false;
  let rejectWhole: ((error: GatewayError) => void) | undefined;

  const deadline = new Deadline(
    {
      timeoutMs: service.timeoutMs,
      idleMs: service.idleTimeoutMs ?? DEFAULT_IDLE_MS,
      isWaitingForClient: () => isReadingWhole || (stream?.isStarved ?? false),
    },
    (expiry) => fail(timeoutError(expiry, route)),
  );
  const fail = (error: GatewayError) => {
    attempt?.fail(error);
    rejectWhole?.(error);
  };
  const watcher = watchBody(exchange, route, deadline, fail);

  async function takeBody(): Promise<Buffer | RequestBody | undefined> {
    if (!exchange.hasBody) return undefined;
    if (exchange.expectsContinue) exchange.res.writeContinue();
    if (isIdempotent(exchange.method) && (exchange.announcedBytes ?? Infinity) <= REPLAY_BODY_BYTES_LIMIT) {
      isReadingWhole = true;
      const expired = new Promise<never>((_, reject) => {
        rejectWhole = reject;
      });
      const whole = await Promise.race([readWhole(exchange.req, watcher), expired]);
      isReadingWhole = false;
      rejectWhole = undefined;
      return whole;
    }
    stream = new RequestBody(exchange.req, watcher);
    return stream;
  }

  try {
    const body = await takeBody();
    pushLength(upstreamRequest.headers, exchange, body);
    const isReplayable = isIdempotent(exchange.method) && !(body instanceof RequestBody);
    for (let retry = 0; ; retry++) {
      exchange.attempts++;
      attempt = new Attempt({
        exchange,
        route,
        deadline,
        wantsTrailers: upstreamRequest.wantsTrailers,
        publicBase,
        isUploading: () => exchange.hasBody && !exchange.req.complete,
        retryAfter: (status, headers) =>
          isReplayable && retry < service.retries ? waitBeforeRetry(retry, status, headers, deadline) : undefined,
      });
      if (exchange.res.closed) return;
      transport.dispatch(upstreamRequest.origin, { ...upstreamRequest, body }, attempt);
      const end = await attempt.end;
      if (end.kind === "relayed") return;
      if (end.kind === "failed") throw end.error;
      if (!(await pauseUnlessGone(end.afterMs, exchange))) return;
    }
  } finally {
    deadline.stop();
  }
}

/** Counts the body, keeps the deadline informed and holds `maxBodyBytes` for bodies that announced no length. */
function watchBody(
  exchange: Exchange,
  { prepared: { service } }: Route,
  deadline: Deadline,
  fail: (error: GatewayError) => void,
): BodyWatcher {
  return {
    onBytes(length) {
      exchange.bytesIn += length;
      deadline.touch();
      if (service.maxBodyBytes > 0 && exchange.bytesIn > service.maxBodyBytes) {
        fail(
          new GatewayError("PAYLOAD_TOO_LARGE", {
            message: `${service.key} accepts bodies of at most ${service.maxBodyBytes} bytes.`,
          }),
        );
      }
    },
  };
}

/** A length that was announced is announced again; without one undici frames the body in chunks (RFC 9112 section 6). */
function pushLength(headers: string[], exchange: Exchange, body: Buffer | RequestBody | undefined): void {
  const announced = exchange.req.headers["content-length"];
  if (body === undefined ? announced === "0" : announced !== undefined)
    headers.push("Content-Length", announced as string);
}

/** ms to wait, or undefined: not retriable, or it would not fit into the deadline. */
function waitBeforeRetry(
  retry: number,
  status: number | undefined,
  headers: AnswerHeaders | undefined,
  deadline: Deadline,
): number | undefined {
  if (status !== undefined && !isRetriableStatus(status)) return undefined;
  const asked = retryAfterMs(headers?.["retry-after"], Date.now());
  const waitMs = Math.max(backoffMs(retry, Math.random()), asked ?? 0);
  return waitMs < deadline.remainingMs ? waitMs : undefined;
}

/** False when the client left in the meantime. */
function pauseUnlessGone(ms: number, exchange: Exchange): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      exchange.onClose = undefined;
      resolve(true);
    }, ms);
    exchange.onClose = () => {
      clearTimeout(timer);
      resolve(false);
    };
  });
}

function timeoutError(expiry: Expiry, { prepared: { service } }: Route): GatewayError {
  if (expiry === "client-idle") {
    return new GatewayError("REQUEST_TIMEOUT", { message: "The request body stopped arriving." });
  }
  if (expiry === "body-idle") return new GatewayError("UPSTREAM_TIMEOUT");
  return new GatewayError("UPSTREAM_TIMEOUT", {
    message: `${service.key} sent no answer within ${service.timeoutMs} ms (http); timeoutMs or NETWORK_TIMEOUT raises it.`,
  });
}
