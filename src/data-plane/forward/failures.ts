/**
 * Translates errors of a connection to an upstream into the gateway's codes and messages.
 * Invariant: no message contains an address, a credential or text of the upstream; the error itself is the cause, for the log.
 */
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { CONNECT_TIMEOUT } from "./egress.ts";
import { EGRESS_NOT_ALLOWED, ProxyAddressError } from "./egress-policy.ts";
import { ProxyError, ProxyTimeoutError } from "./proxy-error.ts";

interface Explanation {
  readonly code:
    | "UPSTREAM_UNREACHABLE"
    | "UPSTREAM_TLS_ERROR"
    | "UPSTREAM_PROTOCOL_ERROR"
    | "UPSTREAM_TIMEOUT"
    | "HEADERS_TOO_LARGE";
  /** Completes "<service>: …". */
  readonly words: string;
  readonly proxyStatus?: string;
}

const BY_CODE: Readonly<Record<string, Explanation>> = {
  ENOTFOUND: { code: "UPSTREAM_UNREACHABLE", words: "its host name does not resolve (dns)", proxyStatus: "dns_error" },
  EAI_AGAIN: { code: "UPSTREAM_UNREACHABLE", words: "no name server responded (dns)", proxyStatus: "dns_error" },
  ECONNREFUSED: {
    code: "UPSTREAM_UNREACHABLE",
    words: "it refused the connection (connect)",
    proxyStatus: "connection_refused",
  },
  EHOSTUNREACH: {
    code: "UPSTREAM_UNREACHABLE",
    words: "no route leads to it (connect)",
    proxyStatus: "destination_ip_unroutable",
  },
  ENETUNREACH: {
    code: "UPSTREAM_UNREACHABLE",
    words: "no route leads to its network (connect)",
    proxyStatus: "destination_ip_unroutable",
  },
  ETIMEDOUT: {
    code: "UPSTREAM_TIMEOUT",
    words: "the connection timed out (connect)",
    proxyStatus: "connection_timeout",
  },
  ECONNRESET: closedEarly(),
  EPIPE: closedEarly(),
  UPSTREAM_CLOSED: closedEarly(),
  UPSTREAM_MALFORMED: malformed(),
  UPSTREAM_CUT: {
    code: "UPSTREAM_PROTOCOL_ERROR",
    words: "it closed the connection inside its response (http)",
    proxyStatus: "http_response_incomplete",
  },
  UPSTREAM_HEADERS_OVERFLOW: {
    code: "UPSTREAM_PROTOCOL_ERROR",
    words: "its response headers are too large (http)",
    proxyStatus: "http_response_header_section_size",
  },
  CONNECTION_DESTROYED: {
    code: "UPSTREAM_UNREACHABLE",
    words: "the gateway closed the connection, because the service was removed or the gateway is ending",
    proxyStatus: "connection_terminated",
  },
  CERT_HAS_EXPIRED: tls("its certificate has expired, or this machine's clock is wrong"),
  CERT_NOT_YET_VALID: tls("its certificate is not valid yet, or this machine's clock is wrong"),
  DEPTH_ZERO_SELF_SIGNED_CERT: tls("its certificate is self-signed"),
  SELF_SIGNED_CERT_IN_CHAIN: tls("its certificate was issued by an authority that is not trusted here"),
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: tls("its certificate's issuer is not known here"),
  UNABLE_TO_GET_ISSUER_CERT: tls("its certificate's issuer is not known here"),
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: tls("its certificate's issuer is not known here"),
  CERT_REVOKED: tls("its certificate was revoked"),
  ERR_TLS_CERT_ALTNAME_INVALID: tls("its certificate is for another name"),
  ERR_SSL_WRONG_VERSION_NUMBER: plainHttp(),
  ERR_SSL_PACKET_LENGTH_TOO_LONG: plainHttp(),
  ERR_SSL_HTTP_REQUEST: plainHttp(),
};

function closedEarly(): Explanation {
  return {
    code: "UPSTREAM_UNREACHABLE",
    words: "it closed the connection before it responded (http)",
    proxyStatus: "connection_terminated",
  };
}

function tls(reason: string): Explanation {
  return { code: "UPSTREAM_TLS_ERROR", words: `${reason} (tls)` };
}

/** OpenSSL names what it found in place of a TLS record. */
function plainHttp(): Explanation {
  return tls("this port does not speak TLS; if it is an http port, baseUrl must begin with http://");
}

/** @param error as the transport, node:net or node:http raised it. */
export function explainFailure(error: Error, service: Pick<Service, "key" | "connectTimeoutMs">): GatewayError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === CONNECT_TIMEOUT) return connectTimeout(service, error);
  if (error instanceof ProxyAddressError) return proxyAddressRefusal(service.key, error.message);
  if (code === EGRESS_NOT_ALLOWED) return egressRefusal(service.key, error.message);
  if (error instanceof ProxyError) return proxyFailure(service, error);
  const explanation = explain(code, error);
  if (explanation === undefined) return new GatewayError("INTERNAL_ERROR", { cause: error });
  return new GatewayError(explanation.code, {
    message: `${service.key}: ${explanation.words}.`,
    cause: error,
    ...(explanation.proxyStatus === undefined ? {} : { proxyStatus: explanation.proxyStatus }),
  });
}

/** Connections that the gateway closed, or had no descriptor or port for. */
const OWN_CAUSES: ReadonlySet<string | undefined> = new Set([
  "CONNECTION_DESTROYED",
  "EMFILE",
  "ENFILE",
  "EADDRNOTAVAIL",
]);

/** Whether an error counts as an upstream failure: not if the gateway refused or ended the attempt, or lacked a resource for it. */
export function isUpstreamsFault({ code, cause }: GatewayError): boolean {
  switch (code) {
    case "UPSTREAM_UNREACHABLE":
      return !OWN_CAUSES.has((cause as NodeJS.ErrnoException | undefined)?.code);
    case "UPSTREAM_TLS_ERROR":
    case "UPSTREAM_PROTOCOL_ERROR":
    case "UPSTREAM_TIMEOUT":
      return true;
    default:
      return false;
  }
}

/** @param reason why the address is refused. */
export function egressRefusal(serviceKey: string, reason: string): GatewayError {
  return new GatewayError("EGRESS_NOT_ALLOWED", {
    message: `${serviceKey} points to an address that the gateway does not connect to: ${reason}.`,
  });
}

/** @param reason why the address of its egress proxy is refused. */
export function proxyAddressRefusal(serviceKey: string, reason: string): GatewayError {
  return new GatewayError("EGRESS_NOT_ALLOWED", {
    message: `${serviceKey} cannot be reached: ${reason}.`,
    hint: "Set EGRESS_PROXY, or `egressProxy` of this service, to a proxy that the gateway may connect to, and never to the gateway itself.",
  });
}

/** It counts as a failure to connect: the upstream saw nothing of the request. */
function proxyFailure(
  { key, connectTimeoutMs }: Pick<Service, "key" | "connectTimeoutMs">,
  error: ProxyError,
): GatewayError {
  const isTimeout = error instanceof ProxyTimeoutError;
  const within = isTimeout ? ` (${connectTimeoutMs} ms, connectTimeoutMs or NETWORK_CONNECT_TIMEOUT)` : "";
  return new GatewayError(isTimeout ? "UPSTREAM_TIMEOUT" : "UPSTREAM_UNREACHABLE", {
    message: `${key}: ${error.words}${within} (proxy).`,
    hint: error.hint,
    proxyStatus: isTimeout ? "connection_timeout" : "destination_unavailable",
    cause: error,
  });
}

/** No connection, TLS included, within `connectTimeoutMs`. */
function connectTimeout(
  { key, connectTimeoutMs }: Pick<Service, "key" | "connectTimeoutMs">,
  cause?: Error,
): GatewayError {
  return new GatewayError("UPSTREAM_TIMEOUT", {
    message: `${key}: no connection within ${connectTimeoutMs} ms (connect); connectTimeoutMs or NETWORK_CONNECT_TIMEOUT raises it.`,
    proxyStatus: "connection_timeout",
    cause,
  });
}

/**
 * No response within `timeoutMs`.
 * @param mayRepeat false if the upstream may have acted on the request: SDKs would send, and the account would pay for, it again.
 */
export function responseTimeout(
  { key, timeoutMs }: Pick<Service, "key" | "timeoutMs">,
  mayRepeat = true,
): GatewayError {
  return new GatewayError("UPSTREAM_TIMEOUT", {
    ...(mayRepeat ? {} : { headers: ["X-Should-Retry", "false"] }),
    message: `${key} sent no response within ${timeoutMs} ms (http); timeoutMs or NETWORK_TIMEOUT raises it.`,
  });
}

/** No response to a probe that has less time than a request. */
export function probeTimeout(serviceKey: string, withinMs: number): GatewayError {
  return new GatewayError("UPSTREAM_TIMEOUT", {
    message: `${serviceKey} sent no response within the ${withinMs} ms of this probe (http).`,
  });
}

function explain(code: string, error: Error): Explanation | undefined {
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  if (code.startsWith("HTTP2_")) return ofHttp2(code, error.message);
  if (code.startsWith("HPE_") || error.name === "HTTPParserError") return malformed();
  if (/^(ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|CRL_)/.test(code))
    return tls("the TLS handshake failed; is it an https port?");
  // An argument that is refused is a bug of the gateway; every other code is the operating system's reason not to connect.
  if (code.startsWith("ERR_INVALID_") || code === "") return undefined;
  return { code: "UPSTREAM_UNREACHABLE", words: `connecting failed with ${code} (connect)` };
}

function malformed(): Explanation {
  return { code: "UPSTREAM_PROTOCOL_ERROR", words: "its response is not well-formed HTTP/1.1 (http)" };
}

/** @param words of the transport's own. */
function ofHttp2(code: string, words: string): Explanation {
  switch (code) {
    case "HTTP2_REFUSED":
      return { code: "UPSTREAM_UNREACHABLE", words: `${words} (http)`, proxyStatus: "connection_terminated" };
    case "HTTP2_REQUEST_HEADERS_OVERFLOW":
      return { code: "HEADERS_TOO_LARGE", words };
    default:
      return { code: "UPSTREAM_PROTOCOL_ERROR", words: `${words} (http)` };
  }
}
