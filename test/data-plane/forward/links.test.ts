import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLinkRewriter, scopeCookie } from "../../../src/data-plane/forward/links.ts";
import type { Base } from "../../../src/data-plane/prepared-service.ts";

const base = (url: string, gatewayPrefix: string): Base => {
  const { origin, pathname } = new URL(url);
  return { origin, path: pathname, prefix: pathname.replace(/\/$/, ""), gatewayPrefix };
};

const rewriter = createLinkRewriter({
  bases: [base("https://api.test/api/v10/", "/proxy/api"), base("https://api.test/api/v9/", "/proxy/api/v9")],
  requestOrigin: "https://api.test",
  publicBase: "http://gw:3420",
  secretParameters: ["key"],
});

describe("link", () => {
  test.each([
    ["https://api.test/api/v10/users?page=2", "http://gw:3420/proxy/api/users?page=2"],
    ["https://api.test/api/v10", "http://gw:3420/proxy/api"],
    ["https://api.test/api/v10/", "http://gw:3420/proxy/api/"],
    ["https://api.test/api/v10?x=1", "http://gw:3420/proxy/api?x=1"],
    ["https://api.test/api/v9/users", "http://gw:3420/proxy/api/v9/users"],
    ["HTTPS://API.Test:443/api/v10/a%2Fb#c", "http://gw:3420/proxy/api/a%2Fb#c"],
    ["//api.test/api/v10/users", "http://gw:3420/proxy/api/users"],
    ["/api/v10/users", "http://gw:3420/proxy/api/users"],
  ])("The link %s to the service's base leads to the gateway", (from, to) => {
    expect(rewriter.location(from)).toBe(to);
  });

  test.each([
    ["https://api.test/api/v100/users"],
    ["https://api.test/login"],
    ["http://api.test/api/v10/users"],
    ["https://api.test:8443/api/v10/users"],
    ["https://other.test/api/v10/users"],
    ["https://api.test@other.test/api/v10/"],
    ["https://api.test/api/v10/../admin"],
    ["https://api.test/api/v10/%2e%2e/admin"],
    ["mailto:a@api.test"],
    ["next?page=2"],
    ["?page=2"],
    [""],
    ["http://["],
  ])("The link %s to another place is unchanged", (value) => {
    expect(rewriter.location(value)).toBe(value);
  });

  test("A link to another path of the upstream gets the upstream's host, which the client does not know", () => {
    expect(rewriter.location("/login")).toBe("https://api.test/login");
  });

  test("A rewritten link does not contain the parameter that carries the credential", () => {
    expect(rewriter.location("https://api.test/api/v10/a?key=SECRET&page=2")).toBe("http://gw:3420/proxy/api/a?page=2");
    expect(rewriter.location("https://other.test/?%6bey=SECRET#x")).toBe("https://other.test/#x");
  });

  test("A Link header is rewritten target by target, with its parameters unchanged", () => {
    expect(
      rewriter.link(
        '<https://api.test/api/v10/a?page=2>; rel="next", <https://other.test/b>; rel="last"; title="a, <b>"',
      ),
    ).toBe('<http://gw:3420/proxy/api/a?page=2>; rel="next", <https://other.test/b>; rel="last"; title="a, <b>"');
  });

  test("No text makes the rewriter throw, and a link below the base keeps its rest byte for byte", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        rewriter.location(text);
        rewriter.link(text);
      }),
    );
    fc.assert(
      fc.property(fc.webPath(), (path) => {
        if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path)) return;
        expect(rewriter.location(`https://api.test/api/v10${path}`)).toBe(`http://gw:3420/proxy/api${path}`);
      }),
    );
  });
});

const cookieBase = { origin: "https://a.test", path: "/api/", prefix: "/api", gatewayPrefix: "/proxy/a" };

test.each([
  ["id=1", "id=1; Path=/proxy/a/"],
  ["id=1; Path=/; HttpOnly", "id=1; HttpOnly; Path=/proxy/a/"],
  ["id=1; path=/api/users; Secure", "id=1; Secure; Path=/proxy/a/users"],
  ["id=1; Path=/api", "id=1; Path=/proxy/a/"],
  ["id=1; Path=/apix", "id=1; Path=/proxy/a/"],
  ["id=1; Domain=a.test; Path=/api/x; Max-Age=5", "id=1; Max-Age=5; Path=/proxy/a/x"],
  ["id=a=b==; DOMAIN=.test", "id=a=b==; Path=/proxy/a/"],
  ["id=1; Path=relative", "id=1; Path=/proxy/a/"],
])("The cookie %s is limited to the service: %s", (from, to) => {
  expect(scopeCookie(from, cookieBase, "a")).toBe(to);
});
