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
  ["UND_ERR_CONNECT_TIMEOUT", "UPSTREAM_TIMEOUT", "connect", "connection_timeout"],
  ["ETIMEDOUT", "UPSTREAM_TIMEOUT", "connect", "connection_timeout"],
  ["ERESETBYPEER", "UPSTREAM_UNREACHABLE", "http", "connection_terminated"],
  ["UND_ERR_SOCKET", "UPSTREAM_UNREACHABLE", "http", "connection_terminated"],
  ["HPE_INVALID_CONSTANT", "UPSTREAM_PROTOCOL_ERROR", "http", "http_protocol_error"],
  ["UND_ERR_HEADERS_OVERFLOW", "UPSTREAM_PROTOCOL_ERROR", "http", "http_response_header_section_size"],
  ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "UPSTREAM_PROTOCOL_ERROR", "http", "http_response_incomplete"],
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
  const { message } = explainFailure(failure("UND_ERR_CONNECT_TIMEOUT"), service);
  expect(message).toMatch(/5000 ms.*connectTimeoutMs or NETWORK_CONNECT_TIMEOUT/);
});

test("A request that undici rejects is an internal error", () => {
  expect(explainFailure(failure("UND_ERR_INVALID_ARG"), service).code).toBe("INTERNAL_ERROR");
  expect(explainFailure(new TypeError("oops"), service).code).toBe("INTERNAL_ERROR");
});

test("Only failures that the upstream caused count as upstream failures, not those of the gateway or its resources", () => {
  const isUpstreamFailure = (code: string) => isUpstreamsFault(explainFailure(failure(code), service));
  const byUpstream = [
    "ENOTFOUND",
    "ECONNREFUSED",
    "ERESETBYPEER",
    "UND_ERR_CONNECT_TIMEOUT",
    "HPE_INVALID_CONSTANT",
    "EPROTO",
  ];
  const byGateway = [
    "UND_ERR_DESTROYED",
    "EMFILE",
    "ENFILE",
    "EADDRNOTAVAIL",
    "UND_ERR_INVALID_ARG",
    "EGRESS_NOT_ALLOWED",
  ];
  expect([...byUpstream, ...byGateway].filter(isUpstreamFailure)).toEqual(byUpstream);
});
