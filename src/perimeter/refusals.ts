/**
 * The one form of every error response that the gateway makes, on both planes and on raw sockets; and the refusals of
 * requests that never became an exchange: malformed messages, parser errors, sockets without a response.
 * Invariant: a response holds public fields of the error only (`cause` is not read here), and an early refusal ends its
 * connection.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { GatewayError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { SecretMask } from "../telemetry/redact.ts";
import type { Cors } from "./cors.ts";
import { grpcHeaders, isGrpcFamily } from "./grpc-refusal.ts";
import type { Instance } from "./instance.ts";
import { linger, lingerBeforeClose } from "./linger.ts";

/** What an error response says about the request that it refuses. */
export interface RefusedRequest {
  readonly requestId: string;
  readonly service?: string | undefined;
  /** Path without its query: a query can hold a secret. */
  readonly path?: string | undefined;
  /** A gRPC client gets a gRPC response. */
  readonly contentType?: string | undefined;
}

export interface ErrorResponse {
  readonly status: number;
  /** Flat list of names and values. */
  readonly headers: string[];
  readonly body: string;
}

export interface EarlyRefusalParts {
  readonly instance: Instance;
  readonly cors: Pick<Cors, "headersOf">;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, "countRefusal">;
}

export interface EarlyRefusals {
  /** Through the response object that node:http has prepared. */
  send(req: IncomingMessage, res: ServerResponse, error: GatewayError): void;
  /** On a socket without such an object. @param origin of the requesting page, where there is no `req`. */
  write(socket: Duplex, error: GatewayError, req?: IncomingMessage, origin?: string): void;
  /** For the control plane's adapter. */
  response(error: GatewayError): Response;
}

export function createEarlyRefusals({ instance, cors, logger, metrics }: EarlyRefusalParts): EarlyRefusals {
  function countedResponse(error: GatewayError, req?: IncomingMessage, origin?: string): ErrorResponse {
    metrics.countRefusal(error.code);
    const contentType = req?.headers["content-type"];
    const request = { requestId: instance.requestId(req), path: req?.url?.split("?", 1)[0], contentType };
    const response = errorResponse(error, request, logger.maskKeys);
    response.headers.push(...cors.headersOf(req?.headers ?? { origin }));
    return response;
  }
  return {
    send(req, res, error) {
      const { status, headers, body } = countedResponse(error, req);
      if (!req.complete) lingerBeforeClose(req);
      res.writeHead(status, [...headers, "Connection", "close"]);
      res.end(req.method === "HEAD" ? undefined : body);
    },
    write(socket, error, req, origin) {
      socket.on("error", () => socket.destroy());
      if (socket.writable) socket.write(wireForm(countedResponse(error, req, origin)));
      linger(socket);
    },
    response: (error) => toFetchResponse(countedResponse(error), "GET"),
  };
}

/** The JSON body, or a gRPC status, with `X-Proxy-Error` and, where it applies, `Proxy-Status` (RFC 9209). */
export function errorResponse(error: GatewayError, request: RefusedRequest, mask: SecretMask): ErrorResponse {
  const { contentType } = request;
  const isForGrpc = isGrpcFamily(contentType);
  const body = isForGrpc ? "" : jsonBody(error, request, mask);
  const headers = isForGrpc
    ? grpcHeaders(error, contentType, mask)
    : ["Content-Type", "application/json; charset=utf-8", "Content-Length", String(Buffer.byteLength(body))];
  headers.push("Cache-Control", "no-store", "X-Proxy-Error", error.code, "X-Proxy-Request-Id", request.requestId);
  headers.push(...error.headers);
  if (error.proxyStatus !== undefined) headers.push("Proxy-Status", `byteproxy; error=${error.proxyStatus}`);
  return { status: isForGrpc ? 200 : error.status, headers, body };
}

function jsonBody(error: GatewayError, request: RefusedRequest, mask: SecretMask): string {
  // Masked as a whole: a caller may have put a key where a path or a service is expected.
  return mask(
    JSON.stringify({
      error: error.title,
      message: error.message,
      code: error.code,
      status: error.status,
      requestId: request.requestId,
      service: request.service,
      path: request.path,
      hint: error.hint,
      documentation: "/docs",
      ...error.extra,
    }),
  );
}

/** The same response for the control plane, whose handlers return fetch's Response. */
export function toFetchResponse(response: ErrorResponse, method: string): Response {
  const headers = new Headers();
  for (let i = 0; i < response.headers.length; i += 2) {
    headers.append(response.headers[i] as string, response.headers[i + 1] as string);
  }
  return new Response(method === "HEAD" ? null : response.body, { status: response.status, headers });
}

function wireForm({ status, headers, body }: ErrorResponse): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `Date: ${new Date().toUTCString()}`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  lines.push("Connection: close", "", body);
  return lines.join("\r\n");
}
