/** Which hosts are reached without the egress proxy. */
import { describe, expect, test } from "vitest";
import { createNoProxy } from "../../src/config/no-proxy.ts";

describe("NO_PROXY", () => {
  test.each([
    ["example.com", "example.com", 443, true],
    ["example.com", "EXAMPLE.com", 443, true],
    ["example.com", "example.com.", 443, true],
    ["example.com", "a.b.example.com", 443, true],
    ["example.com", "notexample.com", 443, false],
    ["example.com", "example.com.evil", 443, false],
    [".example.com", "example.com", 443, true],
    [".example.com", "a.example.com", 443, true],
    ["*.example.com", "a.example.com", 443, true],
    ["example.com:8443", "example.com", 8443, true],
    ["example.com:8443", "example.com", 443, false],
    ["a.example, b.example", "b.example", 443, true],
    ["a.example b.example", "b.example", 80, true],
    ["bücher.example", "www.xn--bcher-kva.example", 443, true],
    ["a_b.example", "a_b.example", 443, true],
    ["*", "anything.example", 1, true],
    ["", "example.com", 443, false],
    [",,. .", "example.com", 443, false],
    ["192.0.2.7", "192.0.2.7", 80, true],
    ["192.0.2.7", "192.0.2.70", 80, false],
    ["192.0.2.7:81", "192.0.2.7", 80, false],
    ["192.0.2.0/24", "192.0.2.200", 80, true],
    ["192.0.2.0/24", "192.0.3.1", 80, false],
    ["192.0.2.0/24", "[::ffff:192.0.2.9]", 80, true],
    ["192.0.2.0/24", "192.0.2.example", 80, false],
    ["2001:db8::1", "[2001:db8:0:0::1]", 80, true],
    ["[2001:db8::1]:8080", "[2001:db8::1]", 8080, true],
    ["[2001:db8::1]:8080", "[2001:db8::1]", 80, false],
    ["2001:db8::/32", "[2001:db8:ffff::]", 80, true],
    ["10.0.0.0/99, bad/8, [, a:b:c", "10.0.0.1", 80, false],
  ])("%j and the host %s on port %i: %s", (list, host, port, isDirect) => {
    expect(createNoProxy(list)(host, port)).toBe(isDirect);
  });

  test.each(["localhost", "LOCALHOST.", "api.localhost", "127.0.0.1", "127.8.8.8", "[::1]"])(
    "%s never uses EGRESS_PROXY",
    (host) => {
      expect(createNoProxy("")(host, 80)).toBe(true);
    },
  );
});
