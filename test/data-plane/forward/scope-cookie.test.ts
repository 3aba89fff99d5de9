import { expect, test } from "vitest";
import { scopeCookie } from "../../../src/data-plane/forward/scope-cookie.ts";

const base = { origin: "https://a.test", path: "/api/", prefix: "/api", gatewayPrefix: "/proxy/a" };

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
  expect(scopeCookie(from, base, "a")).toBe(to);
});
