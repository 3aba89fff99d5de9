import { describe, expect, test } from "vitest";
import { CATALOG, type ErrorCode } from "../../src/error-catalog.ts";
import { GatewayError } from "../../src/errors.ts";
import { encodeMessage, grpcHeaders, grpcStatusOf, isGrpc, isGrpcFamily } from "../../src/perimeter/grpc-refusal.ts";

test.each([
  ["application/grpc", true, true],
  ["application/grpc+proto", true, true],
  ["Application/gRPC; charset=utf-8", true, true],
  ["application/grpc-web", true, false],
  ["application/grpc-web+proto", true, false],
  ["application/grpc-web-text", true, false],
  ["application/grpc-web-text+thrift", true, false],
  ["application/grpc-status", false, false],
  ["application/grpcx", false, false],
  ["text/plain; application/grpc", false, false],
  [undefined, false, false],
])("%s: of the gRPC family %s, gRPC itself %s", (contentType, isFamily, isItself) => {
  expect([isGrpcFamily(contentType), isGrpc(contentType)]).toEqual([isFamily, isItself]);
});

describe("The gRPC status of a refusal", () => {
  test.each([
    ["MISSING_CREDENTIALS", 16],
    ["INSUFFICIENT_PERMISSIONS", 7],
    ["SERVICE_NOT_CONFIGURED", 12],
    ["METHOD_NOT_ALLOWED", 12],
    ["UNSUPPORTED_MEDIA_TYPE", 12],
    ["INVALID_PATH", 3],
    ["RATE_LIMIT_EXCEEDED", 8],
    ["UPSTREAM_QUOTA_EXHAUSTED", 8],
    ["PAYLOAD_TOO_LARGE", 8],
    ["UPSTREAM_UNREACHABLE", 14],
    ["UPSTREAM_PROTOCOL_ERROR", 13],
    ["CIRCUIT_OPEN", 14],
    ["SHUTTING_DOWN", 14],
    ["UPSTREAM_TIMEOUT", 4],
    ["INTERNAL_ERROR", 13],
    ["LOOP_DETECTED", 13],
  ] as const)("The gRPC status of %s is %i", (code, status) => {
    expect(grpcStatusOf(new GatewayError(code))).toBe(status);
  });

  test("Every code has a gRPC status that is an error", () => {
    const codes = Object.keys(CATALOG) as ErrorCode[];
    for (const code of codes) expect(grpcStatusOf(new GatewayError(code)), code).toBeGreaterThan(2);
  });
});

test("A message is percent-encoded UTF-8, of a bounded length", () => {
  expect(encodeMessage("100% für\n")).toBe("100%25 f%C3%BCr%0A");
  expect(encodeMessage("x".repeat(5_000))).toHaveLength(1_024);
});

test("The response has the type of the request without its parameters, and a masked message", () => {
  const error = new GatewayError("INVALID_PATH", { message: "No key-1." });
  expect(grpcHeaders(error, "application/grpc-web-text; x=1", (text) => text.replace("key-1", "***"))).toEqual([
    "Content-Type",
    "application/grpc-web-text",
    "Content-Length",
    "0",
    "grpc-status",
    "3",
    "grpc-message",
    "No ***.",
  ]);
});
