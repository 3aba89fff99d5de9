/**
 * The one form of every answer that the gateway itself makes, on both planes and on raw sockets.
 * Invariant: public fields of the error only; `cause` is not read here.
 */
import type { GatewayError } from "../errors.ts";
import type { SecretMask } from "../telemetry/redact.ts";

/** What an answer says of the request that it refuses. */
export interface RefusedRequest {
  readonly requestId: string;
  readonly service?: string | undefined;
  /** Path without its query: a query can hold a secret. */
  readonly path?: string | undefined;
}

export interface ErrorAnswer {
  readonly status: number;
  /** Flat list of names and values. */
  readonly headers: string[];
  readonly body: string;
}

/** The JSON body of SPEC 5 with `X-Proxy-Error` and, where it applies, `Proxy-Status` (RFC 9209). */
export function errorAnswer(error: GatewayError, request: RefusedRequest, mask: SecretMask): ErrorAnswer {
  // Masked as a whole: a caller may have put a key where a path or a service is expected, and gets it back with neither.
  const body = mask(
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
  const headers = [
    "Content-Type",
    "application/json; charset=utf-8",
    "Content-Length",
    String(Buffer.byteLength(body)),
    "Cache-Control",
    "no-store",
    "X-Proxy-Error",
    error.code,
    "X-Proxy-Request-Id",
    request.requestId,
    ...error.headers,
  ];
  if (error.proxyStatus !== undefined) headers.push("Proxy-Status", `byteproxy; error=${error.proxyStatus}`);
  return { status: error.status, headers, body };
}

/** The same answer for the control plane, whose handlers speak fetch's Response. */
export function errorResponse(answer: ErrorAnswer, method: string): Response {
  const headers = new Headers();
  for (let i = 0; i < answer.headers.length; i += 2) {
    headers.append(answer.headers[i] as string, answer.headers[i + 1] as string);
  }
  return new Response(method === "HEAD" ? null : answer.body, { status: answer.status, headers });
}
