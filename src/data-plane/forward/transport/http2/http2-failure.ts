/**
 * The failure of a request over HTTP/2 (RFC 9113 sections 7 and 8.7).
 * Invariant: its text completes "<service>: …" in a response, and has no byte of the upstream.
 */
import { constants } from "node:http2";

export type Http2FailureCode =
  /** The upstream did not process the request, so that any request may be sent again. */
  | "HTTP2_REFUSED"
  /** The stream, or the connection, ended with an error before the response was complete. */
  | "HTTP2_RESET"
  | "HTTP2_MALFORMED"
  | "HTTP2_NOT_SPOKEN"
  /** The upstream announced that it accepts fewer bytes of request headers. */
  | "HTTP2_REQUEST_HEADERS_OVERFLOW";

export class Http2Failure extends Error {
  override readonly name = "Http2Failure";
  readonly code: Http2FailureCode;

  constructor(code: Http2FailureCode, problem: string, cause?: unknown) {
    super(problem, { cause });
    this.code = code;
  }
}

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants).flatMap(([name, value]) =>
    /^NGHTTP2_(?:NO_ERROR|PROTOCOL_ERROR|INTERNAL_ERROR|FLOW_CONTROL_ERROR|SETTINGS_TIMEOUT|STREAM_CLOSED|FRAME_SIZE_ERROR|REFUSED_STREAM|CANCEL|COMPRESSION_ERROR|CONNECT_ERROR|ENHANCE_YOUR_CALM|INADEQUATE_SECURITY|HTTP_1_1_REQUIRED)$/.test(
      name,
    )
      ? [[value as number, name.replace("NGHTTP2_", "")] as const]
      : [],
  ),
);

/** @param code of RFC 9113 section 7. */
export function nameOfError(code: number): string {
  return NAMES.get(code) ?? `error ${code}`;
}

/** The end of one stream with an error code, of the upstream's or because of what it sent. */
export function resetFailure(code: number, cause?: Error): Http2Failure {
  if (code === constants.NGHTTP2_REFUSED_STREAM) {
    return new Http2Failure("HTTP2_REFUSED", "it refused the request without processing it", cause);
  }
  if (code === constants.NGHTTP2_HTTP_1_1_REQUIRED) {
    return new Http2Failure("HTTP2_RESET", "it serves this request over HTTP/1.1 only; remove `http2`", cause);
  }
  return new Http2Failure("HTTP2_RESET", `the stream of the request ended with ${nameOfError(code)}`, cause);
}

/** @param reason completes "it does not speak HTTP/2: …". */
export function notSpoken(reason: string, cause?: Error): Http2Failure {
  const problem = `it does not speak HTTP/2 on this port (${reason}); remove \`http2\` to use HTTP/1.1`;
  return new Http2Failure("HTTP2_NOT_SPOKEN", problem, cause);
}
