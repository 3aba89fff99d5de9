/**
 * Refusals of what never became an exchange: malformed messages, what the parser itself rejects, sockets without an answer.
 * Invariant: the same form as every other error, and the connection ends behind it.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { GatewayError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Cors } from "./cors.ts";
import { type ErrorAnswer, errorAnswer, errorResponse } from "./error-answer.ts";
import type { Instance } from "./instance.ts";

export interface EarlyRefusalParts {
  readonly instance: Instance;
  readonly cors: Pick<Cors, "headersOf">;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, "countRefusal">;
}

export interface EarlyRefusals {
  /** As the answer that node:http has made ready. */
  answer(req: IncomingMessage, res: ServerResponse, error: GatewayError): void;
  /** On a socket that has no answer of node:http's. @param origin of the page that asked, where there is no `req` to tell. */
  write(socket: Duplex, error: GatewayError, req?: IncomingMessage, origin?: string): void;
  /** For the control plane's adapter. */
  response(error: GatewayError): Response;
}

/** How long a client may go on sending what is thrown away, ms: enough to read the refusal before the reset. */
const LINGER_MS = 2_000;

/** The same where the connection is to be kept, ms: a client may read its answer only when it has sent everything. */
const REST_MS = 30_000;

export function createEarlyRefusals({ instance, cors, logger, metrics }: EarlyRefusalParts): EarlyRefusals {
  function answerOf(error: GatewayError, req?: IncomingMessage, origin?: string): ErrorAnswer {
    metrics.countRefusal(error.code);
    const request = { requestId: instance.requestId(req), path: req?.url?.split("?", 1)[0] };
    const answer = errorAnswer(error, request, logger.maskKeys);
    answer.headers.push(...cors.headersOf(req?.headers ?? { origin }));
    return answer;
  }
  return {
    answer(req, res, error) {
      const { status, headers, body } = answerOf(error, req);
      res.writeHead(status, [...headers, "Connection", "close"]);
      res.end(req.method === "HEAD" ? undefined : body);
    },
    write(socket, error, req, origin) {
      socket.on("error", () => socket.destroy());
      if (socket.writable) socket.write(onTheWire(answerOf(error, req, origin)));
      linger(socket);
    },
    response: (error) => errorResponse(answerOf(error), "GET"),
  };
}

/** Throws away what still arrives of a request that was answered, on a connection that is kept. @param withinMs for all of it. */
export function awaitRest(req: IncomingMessage, withinMs = REST_MS): void {
  if (req.complete) return;
  const timer = setTimeout(() => req.socket.destroy(), withinMs);
  timer.unref();
  for (const event of ["end", "close"]) req.once(event, () => clearTimeout(timer));
  req.resume();
}

/** Ends a socket behind what was written to it, without the reset that unread bytes would cause. */
export function linger(socket: Duplex): void {
  if (socket.writable) socket.end();
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
}

function onTheWire({ status, headers, body }: ErrorAnswer): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `Date: ${new Date().toUTCString()}`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  lines.push("Connection: close", "", body);
  return lines.join("\r\n");
}
