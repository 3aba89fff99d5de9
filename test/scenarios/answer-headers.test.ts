/** Response headers as the client receives them: links lead to the gateway, cookies are limited to their service. */
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

async function start(headersOf: (origin: string) => Record<string, string | string[]>, service = {}, env = {}) {
  const upstream = await startUpstream((req, res) => {
    res.writeHead(req.url?.includes("redirect") ? 302 : 200, headersOf(`http://${req.headers.host}`));
    res.end();
  });
  const gateway = await startGateway({ env, services: { api: { baseUrl: `${upstream.url}/base/`, ...service } } });
  const sendRequest = (path = "", init: RequestInit = {}) =>
    fetch(`${gateway.url}/proxy/api/${path}`, { redirect: "manual", ...init });
  return { upstream, gateway, sendRequest };
}

describe("links to the service", () => {
  test("A link to the service in Location, Content-Location or Link leads to the gateway, and a redirect is never followed", async () => {
    const { upstream, gateway, sendRequest } = await start((origin) => ({
      location: `${origin}/base/next?a=%2F`,
      "content-location": "/base/here",
      link: `<${origin}/base/items?page=2>; rel="next", <https://docs.example/>; rel="help"`,
    }));
    const response = await sendRequest("redirect");
    expect(response.status).toBe(302);
    expect(response.headers.get("location")).toBe(`${gateway.url}/proxy/api/next?a=%2F`);
    expect(response.headers.get("content-location")).toBe(`${gateway.url}/proxy/api/here`);
    expect(response.headers.get("link")).toBe(
      `<${gateway.url}/proxy/api/items?page=2>; rel="next", <https://docs.example/>; rel="help"`,
    );
    expect(upstream.requests).toHaveLength(1);
  });

  test("A redirect to another host is relayed, and the gateway sends no request to that host", async () => {
    const other = await startUpstream();
    const { sendRequest } = await start(() => ({ location: `${other.url}/steal` }));
    expect((await sendRequest("redirect")).headers.get("location")).toBe(`${other.url}/steal`);
    expect(other.requests).toEqual([]);
  });

  test("A rewritten link begins with PUBLIC_URL if it is set, and no link is rewritten if rewriteLinks is off", async () => {
    const headers = (origin: string) => ({ location: `${origin}/base/a` });
    const named = await start(headers, {}, { PUBLIC_URL: "https://gw.example/api/" });
    expect((await named.sendRequest()).headers.get("location")).toBe("https://gw.example/api/proxy/api/a");
    const off = await start(headers, { rewriteLinks: false });
    expect((await off.sendRequest()).headers.get("location")).toBe(`${off.upstream.url}/base/a`);
  });

  test("A rewritten link never contains the credential of the query", async () => {
    const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "SECRET" };
    const { sendRequest } = await start(
      (origin) => ({
        location: `${origin}/base/a?key=the-secret&b=1`,
        link: `<${origin}/x?key=the-secret>; rel="self"`,
      }),
      { auth },
      { SECRET: "the-secret" },
    );
    const response = await sendRequest();
    expect(JSON.stringify([...response.headers])).not.toContain("the-secret");
  });
});

describe("redirects", () => {
  test("A redirect to another service of the gateway leads to the root of its own service and is marked", async () => {
    const own: { url?: string } = {};
    const { gateway, sendRequest } = await start(() => ({
      location: `${own.url}/proxy/other/x`,
      link: `<//localhost:${own.url?.split(":").at(-1)}/proxy/other>; rel="next"`,
      refresh: `0; url=${own.url}/manage/services`,
    }));
    own.url = gateway.url;
    const { headers } = await sendRequest("redirect");
    expect(headers.get("x-proxy-link-blocked")).toBe("1");
    expect(headers.get("location")).toBe(`${gateway.url}/proxy/api/`);
    expect(headers.get("link")).toBe(`<${gateway.url}/proxy/api/>; rel="next"`);
    expect(headers.get("refresh")).toBe(`0; url=${gateway.url}/proxy/api/`);
  });

  test("A relative redirect out of the service leads to the upstream, and an ordinary link is not marked", async () => {
    const { upstream, sendRequest } = await start(() => ({ location: "../../other/x", sourcemap: "x.map" }));
    const { headers } = await sendRequest("a/redirect");
    expect(headers.get("location")).toBe(`${upstream.url}/other/x`);
    expect(headers.get("sourcemap")).toBe("x.map");
    expect(headers.has("x-proxy-link-blocked")).toBe(false);
  });

  test("With redirects: block a redirect to another origin is 502, and no other response is", async () => {
    const other = "http://other.example/x";
    const isBlocked = async (path: string, headers: Record<string, string>) => {
      const { sendRequest, upstream } = await start(
        (origin) => Object.fromEntries(Object.entries(headers).map(([n, v]) => [n, v.replace("OWN", origin)])),
        { redirects: "block" },
      );
      const response = await sendRequest(path);
      expect(upstream.requests).toHaveLength(1);
      if (response.status !== 502) return false;
      expect(await response.json()).toMatchObject({ code: "REDIRECT_BLOCKED", service: "api" });
      expect(JSON.stringify([...response.headers])).not.toContain("other.example");
      return true;
    };
    expect(await isBlocked("redirect", { location: other })).toBe(true);
    expect(await isBlocked("redirect", { location: "//other.example/x" })).toBe(true);
    expect(await isBlocked("redirect", { location: "javascript:alert(1)" })).toBe(true);
    expect(await isBlocked("x", { refresh: `0; url='${other}'` })).toBe(true);
    expect(await isBlocked("redirect", { location: "OWN/base/x" })).toBe(false);
    expect(await isBlocked("redirect", { location: "OWN/login" })).toBe(false);
    expect(await isBlocked("redirect", { location: "next" })).toBe(false);
    expect(await isBlocked("x", { location: other })).toBe(false);
    expect(await isBlocked("x", { refresh: "5" })).toBe(false);
  });
});

describe("Set-Cookie", () => {
  const cookies = { "set-cookie": ["a=1; Path=/base/x; Domain=example.test; HttpOnly", "b=2"] };

  test("Set-Cookie is removed by default", async () => {
    const { sendRequest } = await start(() => cookies);
    expect((await sendRequest()).headers.getSetCookie()).toEqual([]);
  });

  test("With cookies: true each Set-Cookie is relayed and limited to the service's path", async () => {
    const { sendRequest } = await start(() => cookies, { cookies: true });
    expect((await sendRequest()).headers.getSetCookie()).toEqual([
      "a=1; HttpOnly; Path=/proxy/api/x",
      "b=2; Path=/proxy/api/",
    ]);
  });
});

test("A cookie's path begins with the path of PUBLIC_URL, and a cookie for the whole host is dropped with one warning", async () => {
  const { sendRequest, gateway } = await start(
    () => ({ "set-cookie": ["__Host-a=1; Path=/; Secure", "b=2; Path=/base/x", "__host-c=3; Path=/; Secure"] }),
    { cookies: true },
    { PUBLIC_URL: "https://gw.example/gw" },
  );
  await sendRequest();
  expect((await sendRequest()).headers.getSetCookie()).toEqual(["b=2; Path=/gw/proxy/api/x"]);
  const warnings = gateway.lines().filter(({ msg }) => String(msg).includes("__Host-"));
  expect(warnings).toMatchObject([{ service: "api" }]);
});

describe("headers of the gateway", () => {
  test("The gateway's headers name the service, the duration and the request, and leave the upstream's X-Request-Id and RateLimit unchanged", async () => {
    const upstreams = {
      "x-request-id": "theirs",
      "x-ratelimit-limit": "9",
      "retry-after": "7",
      ratelimit: '"theirs";r=1;t=2',
    };
    const { sendRequest, gateway } = await start(() => upstreams, {
      rateLimit: { maxRequests: 60, windowMs: 3_600_000 },
    });
    const response = await sendRequest("", { headers: { "x-request-id": "mine" } });
    expect(response.headers.get("x-proxy-service")).toBe("api");
    expect(response.headers.get("x-proxy-duration")).toMatch(/^\d+ms$/);
    expect(response.headers.get("x-proxy-request-id")).toBe("mine");
    expect(response.headers.get("x-request-id")).toBe("theirs");
    expect(response.headers.get("x-ratelimit-limit")).toBe("9");
    expect(response.headers.get("retry-after")).toBe("7");
    expect(response.headers.get("ratelimit")).toBe('"theirs";r=1;t=2, "service";r=59;t=3600');
    expect(response.headers.get("ratelimit-policy")).toBe('"service";q=60;w=3600');
    expect(gateway.exchanges()[0]?.requestId).toBe("mine");
  });

  test("X-Request-Id is the gateway's if the upstream sends none", async () => {
    const { sendRequest } = await start(() => ({}));
    const response = await sendRequest();
    expect(response.headers.get("x-request-id")).toBe(response.headers.get("x-proxy-request-id"));
  });
});

test("Hop-by-hop headers and the headers that the upstream's Connection names are not relayed", async () => {
  const upstream = await startRawUpstream(
    respondWith(
      "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nX-Internal: secret\r\nKeep-Alive: timeout=9\r\n" +
        "Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    ),
  );
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const response = await rawRequest(
    gateway.port,
    "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n__proto__: x\r\nconstructor: y\r\nConnection: close\r\n\r\n",
  );
  expect(response.head).toMatch(/^x-kept: yes$/m);
  expect(response.head).not.toMatch(/x-internal|secret|timeout=9|proxy-authenticate|upgrade/i);
  // Names of object members are ordinary header names, also towards the upstream.
  expect(upstream.received[0]).toMatch(/^__proto__: x\r\nconstructor: y\r$/m);
});
