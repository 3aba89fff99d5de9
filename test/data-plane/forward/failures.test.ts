import { expect, test } from "vitest";
import { explainFailure, isUpstreamsFault } from "../../../src/data-plane/forward/failures.ts";

const service = { key: "api", connectTimeoutMs: 5000 };
const failure = (code: string, message = "at 10.0.0.1:443 with secret") => Object.assign(new Error(message), { code });

test.each([
  ["ENOTFOUND", "UPSTREAM_UNREACHABLE", "dns", "dns_error"],
  ["EAI_AGAIN", "UPSTREAM_UNREACHABLE", "dns", "dns_error"],
  ["ECONNREFUSED", "UPSTREAM_UNREACHABLE", "connect", "connection_refused"],
  ["EHOSTUNREACH", "UPSTREAM_UNREACHABLE", "connect", "destination_ip_unroutable"],
  ["EMFILE", "UPSTREAM_UNREACHABLE", "connect", "destination_unavailable"],
  ["CONNECT_TIMEOUT", "UPSTREAM_TIMEOUT", "connect", "connection_timeout"],
  ["ETIMEDOUT", "UPSTREAM_TIMEOUT", "connect", "connection_timeout"],
  ["ECONNRESET", "UPSTREAM_UNREACHABLE", "http", "connection_terminated"],
  ["UPSTREAM_CLOSED", "UPSTREAM_UNREACHABLE", "http", "connection_terminated"],
  ["UPSTREAM_MALFORMED", "UPSTREAM_PROTOCOL_ERROR", "http", "http_protocol_error"],
  ["UPSTREAM_HEADERS_OVERFLOW", "UPSTREAM_PROTOCOL_ERROR", "http", "http_response_header_section_size"],
  ["UPSTREAM_CUT", "UPSTREAM_PROTOCOL_ERROR", "http", "http_response_incomplete"],
  ["CERT_HAS_EXPIRED", "UPSTREAM_TLS_ERROR", "tls", "tls_certificate_error"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "UPSTREAM_TLS_ERROR", "tls", "tls_certificate_error"],
  ["EPROTO", "UPSTREAM_TLS_ERROR", "tls", "tls_certificate_error"],
])(
  "%s becomes %s with the phase %s, and addresses and secrets appear only in the log",
  (code, expected, phase, proxyStatus) => {
    const error = explainFailure(failure(code), service);
    expect(error.code).toBe(expected);
    expect(error.message).toContain(`(${phase})`);
    expect(error.message).not.toMatch(/10\.0\.0\.1|secret/);
    expect(error.proxyStatus).toBe(proxyStatus);
    expect(error.cause).toBeInstanceOf(Error);
  },
);

test("The message of a connect timeout contains its duration and the setting that raises it", () => {
  const { message } = explainFailure(failure("CONNECT_TIMEOUT"), service);
  expect(message).toMatch(/5000 ms.*connectTimeoutMs or NETWORK_CONNECT_TIMEOUT/);
});

test("A request that the transport refuses to write is an internal error", () => {
  expect(explainFailure(failure("ERR_INVALID_CHAR"), service).code).toBe("INTERNAL_ERROR");
  expect(explainFailure(new TypeError("oops"), service).code).toBe("INTERNAL_ERROR");
});

test("Only failures that the upstream caused count as upstream failures, not those of the gateway or its resources", () => {
  const isUpstreamFailure = (code: string) => isUpstreamsFault(explainFailure(failure(code), service));
  const byUpstream = ["ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "CONNECT_TIMEOUT", "HPE_INVALID_CONSTANT", "EPROTO"];
  const byGateway = [
    "CONNECTION_DESTROYED",
    "EMFILE",
    "ENFILE",
    "EADDRNOTAVAIL",
    "ERR_INVALID_CHAR",
    "EGRESS_NOT_ALLOWED",
  ];
  expect([...byUpstream, ...byGateway].filter(isUpstreamFailure)).toEqual(byUpstream);
});
