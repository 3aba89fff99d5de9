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
import { linger } from "./linger.ts";

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

function onTheWire({ status, headers, body }: ErrorAnswer): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `Date: ${new Date().toUTCString()}`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  lines.push("Connection: close", "", body);
  return lines.join("\r\n");
}
