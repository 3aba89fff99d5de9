/** What a client sees of the upstream's headers: links stay on the gateway, cookies on their service. */
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { answering, startRawUpstream, startUpstream } from "../support/upstream.ts";

async function start(headersOf: (origin: string) => Record<string, string | string[]>, service = {}, env = {}) {
  const upstream = await startUpstream((req, res) => {
    res.writeHead(req.url?.includes("redirect") ? 302 : 200, headersOf(`http://${req.headers.host}`));
    res.end();
  });
  const gateway = await startGateway({ env, services: { api: { baseUrl: `${upstream.url}/base/`, ...service } } });
  const ask = (path = "", init: RequestInit = {}) =>
    fetch(`${gateway.url}/proxy/api/${path}`, { redirect: "manual", ...init });
  return { upstream, gateway, ask };
}

describe("a link to the service", () => {
  test("leads to the gateway in Location, Content-Location and Link, and a redirect is never followed", async () => {
    const { upstream, gateway, ask } = await start((origin) => ({
      location: `${origin}/base/next?a=%2F`,
      "content-location": "/base/here",
      link: `<${origin}/base/items?page=2>; rel="next", <https://docs.example/>; rel="help"`,
    }));
    const answer = await ask("redirect");
    expect(answer.status).toBe(302);
    expect(answer.headers.get("location")).toBe(`${gateway.url}/proxy/api/next?a=%2F`);
    expect(answer.headers.get("content-location")).toBe(`${gateway.url}/proxy/api/here`);
    expect(answer.headers.get("link")).toBe(
      `<${gateway.url}/proxy/api/items?page=2>; rel="next", <https://docs.example/>; rel="help"`,
    );
    expect(upstream.requests).toHaveLength(1);
  });

  test("to another host is passed on, and nothing asks there", async () => {
    const other = await startUpstream();
    const { ask } = await start(() => ({ location: `${other.url}/steal` }));
    expect((await ask("redirect")).headers.get("location")).toBe(`${other.url}/steal`);
    expect(other.requests).toEqual([]);
  });

  test("begins with PUBLIC_URL where that is set, and is left alone where rewriteLinks is off", async () => {
    const headers = (origin: string) => ({ location: `${origin}/base/a` });
    const named = await start(headers, {}, { PUBLIC_URL: "https://gw.example/api/" });
    expect((await named.ask()).headers.get("location")).toBe("https://gw.example/api/proxy/api/a");
    const off = await start(headers, { rewriteLinks: false });
    expect((await off.ask()).headers.get("location")).toBe(`${off.upstream.url}/base/a`);
  });

  test("never brings the credential in the query back", async () => {
    const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "SECRET" };
    const { ask } = await start(
      (origin) => ({
        location: `${origin}/base/a?key=the-secret&b=1`,
        link: `<${origin}/x?key=the-secret>; rel="self"`,
      }),
      { auth },
      { SECRET: "the-secret" },
    );
    const answer = await ask();
    expect(JSON.stringify([...answer.headers])).not.toContain("the-secret");
  });
});

describe("Set-Cookie", () => {
  const cookies = { "set-cookie": ["a=1; Path=/base/x; Domain=example.test; HttpOnly", "b=2"] };

  test("does not pass by default", async () => {
    const { ask } = await start(() => cookies);
    expect((await ask()).headers.getSetCookie()).toEqual([]);
  });

  test("passes with cookies: true, one by one and kept to the service", async () => {
    const { ask } = await start(() => cookies, { cookies: true });
    expect((await ask()).headers.getSetCookie()).toEqual(["a=1; HttpOnly; Path=/proxy/api/x", "b=2; Path=/proxy/api/"]);
  });
});

describe("headers of the gateway's own", () => {
  test("say the service, the time and the request, and leave the upstream's X-Request-Id and RateLimit alone", async () => {
    const upstreams = {
      "x-request-id": "theirs",
      "x-ratelimit-limit": "9",
      "retry-after": "7",
      ratelimit: '"theirs";r=1;t=2',
    };
    const { ask, gateway } = await start(() => upstreams, { rateLimit: { maxRequests: 60, windowMs: 3_600_000 } });
    const answer = await ask("", { headers: { "x-request-id": "mine" } });
    expect(answer.headers.get("x-proxy-service")).toBe("api");
    expect(answer.headers.get("x-proxy-duration")).toMatch(/^\d+ms$/);
    expect(answer.headers.get("x-proxy-request-id")).toBe("mine");
    expect(answer.headers.get("x-request-id")).toBe("theirs");
    expect(answer.headers.get("x-ratelimit-limit")).toBe("9");
    expect(answer.headers.get("retry-after")).toBe("7");
    expect(answer.headers.get("ratelimit")).toBe('"theirs";r=1;t=2, "service";r=59;t=3600');
    expect(answer.headers.get("ratelimit-policy")).toBe('"service";q=60;w=3600');
    expect(gateway.exchanges()[0]?.requestId).toBe("mine");
  });

  test("name the request where the upstream does not", async () => {
    const { ask } = await start(() => ({}));
    const answer = await ask();
    expect(answer.headers.get("x-request-id")).toBe(answer.headers.get("x-proxy-request-id"));
  });
});

test("hop-by-hop headers and what the upstream's Connection names end at the gateway", async () => {
  const upstream = await startRawUpstream(
    answering(
      "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Internal\r\nX-Internal: secret\r\nKeep-Alive: timeout=9\r\n" +
        "Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    ),
  );
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const answer = await rawRequest(
    gateway.port,
    "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n__proto__: x\r\nconstructor: y\r\nConnection: close\r\n\r\n",
  );
  expect(answer.head).toMatch(/^x-kept: yes$/m);
  expect(answer.head).not.toMatch(/x-internal|secret|timeout=9|proxy-authenticate|upgrade/i);
  // Odd names are names like others, on the way there too.
  expect(upstream.received[0]).toMatch(/^__proto__: x\r\nconstructor: y\r$/m);
});
