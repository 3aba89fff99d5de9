/**
 * The gateway's own responses to gRPC clients, which read no HTTP status and no body: a response of trailers only (gRPC over HTTP/2,
 * section "Responses"), which gRPC-Web takes as headers, too.
 * Invariant: it says what the JSON form says: the code in `X-Proxy-Error`, the message in `grpc-message`.
 */
import type { GatewayError } from "../errors.ts";

/** gRPC, gRPC-Web and gRPC-Web as text, each with any message format. */
const FAMILY = /^application\/grpc(?:-web(?:-text)?)?(?:\+[\w.+-]+)?[ \t]*(?:;|$)/i;
const WEB = /^application\/grpc-web/i;

/** Canonical codes (google.rpc.Code). */
const STATUS = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/**
 * As a gRPC client maps the HTTP statuses of other proxies, but for 400, 408, 413, 429, 431 and 504: those of the gateway say more
 * than that client can assume, and UNAVAILABLE would make it repeat calls that an account pays for.
 */
const BY_HTTP_STATUS: Readonly<Record<number, number>> = {
  400: STATUS.INVALID_ARGUMENT,
  401: STATUS.UNAUTHENTICATED,
  403: STATUS.PERMISSION_DENIED,
  404: STATUS.UNIMPLEMENTED,
  405: STATUS.UNIMPLEMENTED,
  408: STATUS.DEADLINE_EXCEEDED,
  413: STATUS.RESOURCE_EXHAUSTED,
  415: STATUS.UNIMPLEMENTED,
  417: STATUS.INVALID_ARGUMENT,
  426: STATUS.UNIMPLEMENTED,
  429: STATUS.RESOURCE_EXHAUSTED,
  431: STATUS.RESOURCE_EXHAUSTED,
  501: STATUS.UNIMPLEMENTED,
  502: STATUS.UNAVAILABLE,
  503: STATUS.UNAVAILABLE,
  504: STATUS.DEADLINE_EXCEEDED,
};

/** The upstream may have acted on the call, so a client must not take it for one to repeat. */
const NOT_TO_REPEAT: ReadonlySet<string> = new Set(["UPSTREAM_PROTOCOL_ERROR", "REDIRECT_BLOCKED"]);

/** Bytes of a message: it is a header, and clients limit those. */
const MESSAGE_BYTES_LIMIT = 1_024;

/** gRPC, gRPC-Web included. */
export function isGrpcFamily(contentType: string | undefined): contentType is string {
  return contentType !== undefined && FAMILY.test(contentType);
}

/** gRPC without gRPC-Web: it needs HTTP/2, for its trailers. */
export function isGrpc(contentType: string | undefined): boolean {
  return isGrpcFamily(contentType) && !WEB.test(contentType);
}

/** The headers of the response, with HTTP status 200 and no body. @param mask of the gateway's keys. */
export function grpcHeaders(error: GatewayError, contentType: string, mask: (text: string) => string): string[] {
  return [
    "Content-Type",
    contentType.replace(/[ \t]*;.*$/s, ""),
    "Content-Length",
    "0",
    "grpc-status",
    String(grpcStatusOf(error)),
    "grpc-message",
    encodeMessage(mask(error.message)),
  ];
}

export function grpcStatusOf({ code, status }: Pick<GatewayError, "code" | "status">): number {
  if (NOT_TO_REPEAT.has(code)) return STATUS.INTERNAL;
  return BY_HTTP_STATUS[status] ?? STATUS.INTERNAL;
}

/** Percent-encoded UTF-8, but for printable ASCII without `%`. */
export function encodeMessage(message: string): string {
  let encoded = "";
  for (const byte of Buffer.from(message).subarray(0, MESSAGE_BYTES_LIMIT)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
