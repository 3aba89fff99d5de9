/** The response cache of a service, through a gateway. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startCachedApi } from "../support/cached-api.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { startHookedGateway } from "../support/hooks.ts";
import { openSession, send } from "../support/http2-client.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { manage } from "../support/manage.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const FRESH = { "cache-control": "max-age=60", etag: '"v1"' };

test("A fresh response is served without the upstream, with its age, and the log and the metrics count it", async () => {
  const api = await startCachedApi();
  api.respond = (_req, res, count) => void res.writeHead(200, FRESH).end(`body ${count}`);
  const first = await api.ask("/proxy/api/a?b=%2f");
  expect(first).toMatchObject({ status: 200, body: "body 1", cache: "miss" });
  expect(first.headers["cache-status"]).toBe("ByteProxy; fwd=uri-miss; stored");
  expect(first.headers.age).toBeUndefined();
  api.clock.now += 7_000;
  const second = await api.ask("/proxy/api/a?b=%2f");
  expect(second).toMatchObject({ status: 200, body: "body 1", cache: "hit" });
  expect(second.headers).toMatchObject({ age: "7", etag: '"v1"', "x-proxy-service": "api" });
  expect(second.headers["cache-status"]).toMatch(/^ByteProxy; hit; ttl=5\d$/);
  // Another spelling of the URL is another resource.
  expect((await api.ask("/proxy/api/a?b=%2F")).cache).toBe("miss");
  expect(await api.ask("/proxy/api/a?b=%2f", {}, "HEAD")).toMatchObject({ status: 200, body: "", cache: "hit" });
  api.clock.now += 60_000;
  expect((await api.ask("/proxy/api/a?b=%2f")).cache).toBe("miss");
  expect(api.gateway.exchanges().map(({ cache, attempts, upstreamUs }) => [cache, attempts, upstreamUs === 0])).toEqual(
    [
      ["miss", 1, false],
      ["hit", 0, true],
      ["miss", 1, false],
      ["hit", 0, true],
      ["miss", 1, false],
    ],
  );
  const metrics = await (await fetch(`${api.gateway.url}/metrics`)).text();
  expect(metrics).toContain('byteproxy_cache_responses_total{service="api",cache="hit"} 2\n');
  expect(metrics).toContain('byteproxy_cache_entries{service="api"} 2\n');
  const status = (await (await fetch(`${api.gateway.url}/status`)).json()) as {
    services: { key: string; cache: unknown }[];
  };
  const cache = status.services.find(({ key }) => key === "api")?.cache;
  expect(cache).toMatchObject({ entries: 2, hits: 2, misses: 3, revalidated: 0, bypassed: 0 });
});

test("A client's own conditions and ranges are answered from a stored response", async () => {
  const api = await startCachedApi();
  const modified = new Date(Date.now() - 10_000).toUTCString();
  api.respond = (_req, res) => {
    res.writeHead(200, { ...FRESH, "last-modified": modified, "content-type": "text/plain" }).end("0123456789");
  };
  await api.ask("/proxy/api/a");
  const answers = async (headers: Record<string, string>) => {
    const { status, body, headers: received } = await api.ask("/proxy/api/a", headers);
    return [status, body, received["content-range"] ?? null];
  };
  expect(await answers({ "if-none-match": 'W/"v0", W/"v1"' })).toEqual([304, "", null]);
  expect(await answers({ "if-none-match": '"v0"', "if-modified-since": modified })).toEqual([200, "0123456789", null]);
  expect(await answers({ "if-modified-since": modified })).toEqual([304, "", null]);
  expect(await answers({ range: "bytes=2-4" })).toEqual([206, "234", "bytes 2-4/10"]);
  expect(await answers({ range: "bytes=-3" })).toEqual([206, "789", "bytes 7-9/10"]);
  expect(await answers({ range: "bytes=8-99" })).toEqual([206, "89", "bytes 8-9/10"]);
  expect(await answers({ range: "bytes=10-" })).toEqual([416, "", "bytes */10"]);
  expect(await answers({ range: "bytes=0-1,4-5" })).toEqual([200, "0123456789", null]);
  expect(await answers({ range: "bytes=5-2" })).toEqual([200, "0123456789", null]);
  expect(await answers({ range: "bytes=0-1", "if-range": '"v1"' })).toEqual([206, "01", "bytes 0-1/10"]);
  expect(await answers({ range: "bytes=0-1", "if-range": 'W/"v1"' })).toEqual([200, "0123456789", null]);
  expect(await answers({ range: "bytes=0-1", "if-range": modified })).toEqual([206, "01", "bytes 0-1/10"]);
  expect(api.requests).toHaveLength(1);
});

test("A stale response is validated with its own tags, and a 304 updates its fields but not those of its body", async () => {
  const api = await startCachedApi();
  api.respond = (req, res, count) => {
    const isCurrent = req.headers["if-none-match"] === '"v1"';
    res.writeHead(isCurrent ? 304 : 200, { ...FRESH, "x-count": String(count), "x-content": `${count}` });
    res.end(isCurrent ? undefined : "body");
  };
  await api.ask("/proxy/api/a");
  api.clock.now += 61_000;
  const validated = await api.ask("/proxy/api/a");
  expect(validated).toMatchObject({ status: 200, body: "body", cache: "revalidated" });
  expect(validated.headers).toMatchObject({ "x-count": "2", "content-length": "4", age: "0" });
  expect(validated.headers["cache-status"]).toBe("ByteProxy; fwd=stale; fwd-status=304");
  expect((await api.ask("/proxy/api/a")).cache).toBe("hit");
  // The client's own condition is evaluated against the validated response.
  api.clock.now += 61_000;
  expect(await api.ask("/proxy/api/a", { "if-none-match": '"v1"' })).toMatchObject({
    status: 304,
    cache: "revalidated",
  });
  expect(api.requests.map(({ headers }) => headers["if-none-match"])).toEqual([undefined, '"v1"', '"v1"']);
});

test("A 304 about another response than the stored one leads to a request without conditions", async () => {
  const api = await startCachedApi();
  api.respond = (req, res, count) => {
    if (req.headers["if-none-match"] !== undefined) res.writeHead(304, { etag: '"other"' }).end();
    else res.writeHead(200, { "cache-control": "max-age=1", etag: '"v1"' }).end(`body ${count}`);
  };
  await api.ask("/proxy/api/a");
  api.clock.now += 2_000;
  expect(await api.ask("/proxy/api/a")).toMatchObject({ status: 200, body: "body 3", cache: "miss" });
});

test.each([
  ["no-store", { "cache-control": "max-age=60, no-store" }],
  ["Set-Cookie", { "cache-control": "max-age=60", "set-cookie": "a=b" }],
  ["Vary: *", { "cache-control": "max-age=60", vary: "accept, *" }],
  ["neither freshness nor a validator", {}],
  ["an Expires that is no date", { expires: "0" }],
])("A response with %s is not stored", async (_, headers) => {
  const api = await startCachedApi();
  api.respond = (_req, res, count) => void res.writeHead(200, headers).end(`body ${count}`);
  await api.ask("/proxy/api/a");
  expect(await api.ask("/proxy/api/a")).toMatchObject({ body: "body 2", cache: "miss" });
});

test("A response that is incomplete, that only the end of the connection ends, or that is larger than maxEntryBytes is not stored", async () => {
  const api = await startCachedApi({ small: { cache: { maxEntryBytes: 1_024 } } });
  api.respond = (req, res, count) => {
    res.setHeader("cache-control", "max-age=60");
    if (req.url === "/cut") {
      res.setHeader("content-length", "100");
      res.write("partial");
      return void setImmediate(() => res.destroy());
    }
    if (req.url === "/unframed") {
      res.setHeader("connection", "close");
      res.useChunkedEncodingByDefault = false;
      res.removeHeader("transfer-encoding");
      res.write("body");
      return void res.end();
    }
    // The second kind learns of its size while it arrives.
    if (req.url === "/chunked") res.write("x");
    res.end("x".repeat(2_000 + count));
  };
  expect(await api.ask("/proxy/api/cut")).toMatchObject({ isCut: true });
  await api.ask("/proxy/api/cut");
  expect(await api.ask("/proxy/api/unframed")).toMatchObject({ body: "body" });
  await api.ask("/proxy/api/unframed");
  for (const path of ["/large", "/chunked"]) {
    expect((await api.ask(`/proxy/small${path}`)).body.length).toBeGreaterThan(2_000);
    await api.ask(`/proxy/small${path}`);
  }
  expect(api.requests.map(({ url }) => url)).toEqual(
    ["/cut", "/unframed", "/large", "/chunked"].flatMap((url) => [url, url]),
  );
});

test("A response is private to its credential, and without one to its caller under the rules of shared caches", async () => {
  const api = await startCachedApi({ open: { cache: true } });
  api.respond = (req, res, count) => {
    const path = req.url as string;
    res.setHeader(
      "cache-control",
      path === "/private" ? "private, max-age=60" : path === "/public" ? "public, max-age=60" : "max-age=60",
    );
    res.end(`body ${count}`);
  };
  await api.ask("/proxy/api/private");
  expect((await api.ask("/proxy/api/private")).cache).toBe("hit");
  await api.ask("/proxy/open/private");
  expect((await api.ask("/proxy/open/private")).cache).toBe("miss");
  const own = { authorization: "Basic b3duOnNlY3JldA==" };
  await api.ask("/proxy/open/own", own);
  expect((await api.ask("/proxy/open/own", own)).cache).toBe("miss");
  await api.ask("/proxy/open/public", own);
  expect((await api.ask("/proxy/open/public", own)).cache).toBe("hit");
  expect((await api.ask("/proxy/open/public", { authorization: "Basic b3RoZXI6c2VjcmV0" })).cache).toBe("miss");
  // Another caller has entries of its own.
  const { body: issued } = await manage(api.gateway, "POST", "/keys", {
    name: "b",
    permissions: ["open:read", "api:read"],
  });
  await api.ask("/proxy/open/plain");
  expect((await api.ask("/proxy/open/plain", { "x-api-key": issued.key })).cache).toBe("miss");
  expect((await api.ask("/proxy/open/plain")).cache).toBe("hit");
  // With a credential the callers share, and each is still authorized.
  expect((await api.ask("/proxy/api/private", { "x-api-key": issued.key })).cache).toBe("hit");
  await manage(api.gateway, "PATCH", `/keys/${issued.id}`, { permissions: ["open:read"] });
  expect((await api.ask("/proxy/api/private", { "x-api-key": issued.key })).status).toBe(403);
  expect((await api.ask("/proxy/api/private", { "x-api-key": "wrong-key-0123456789" })).status).toBe(401);
});

test("After a change of the credential's user name, or of the way to the upstream, nothing stored before is served", async () => {
  const api = await startCachedApi({ of: { cache: true, auth: basicOf("alice") } });
  api.respond = (req, res) => res.writeHead(200, { "cache-control": "max-age=60" }).end(req.headers.authorization);
  const reloaded = async (change: object) => {
    const of = { baseUrl: api.upstreamUrl, cache: true, ...change };
    writeFileSync(join(api.gateway.directory, "services.json"), JSON.stringify({ services: { of } }));
    expect((await api.gateway.reload()).isDone).toBe(true);
    return api.ask("/proxy/of/a");
  };
  const alices = await api.ask("/proxy/of/a");
  expect(await reloaded({ auth: basicOf("alice"), timeoutMs: 9_000 })).toMatchObject({
    cache: "hit",
    body: alices.body,
  });
  const bobs = await reloaded({ auth: basicOf("bob") });
  expect(bobs.cache).toBe("miss");
  expect(bobs.body).not.toBe(alices.body);
  expect((await reloaded({ auth: basicOf("bob"), tls: { strict: false } })).cache).toBe("miss");
});

const basicOf = (username: string) => ({ type: "basic", username, tokenEnvVar: "UPSTREAM_TOKEN" }) as const;

test("A successful unsafe request removes the stored responses of its URL, its Location and its Content-Location, for all callers", async () => {
  const api = await startCachedApi({ open: { cache: true } });
  api.respond = (req, res, count) => {
    res.setHeader("cache-control", "max-age=60");
    if (req.method !== "GET") {
      res.setHeader("location", "/b?c");
      res.setHeader("content-location", "d");
      res.statusCode = req.url === "/fails" ? 500 : 201;
    }
    res.end(`body ${count}`);
  };
  const { body: issued } = await manage(api.gateway, "POST", "/keys", { name: "b", permissions: ["*:*"] });
  const paths = ["/a", "/b?c", "/d", "/other"];
  const states = async (headers = {}) => {
    const found = [];
    for (const path of paths) found.push((await api.ask(`/proxy/open${path}`, headers)).cache);
    return found;
  };
  await states();
  await states({ "x-api-key": issued.key });
  await api.ask("/proxy/open/fails", {}, "POST", "x");
  expect(await states()).toEqual(["hit", "hit", "hit", "hit"]);
  expect((await api.ask("/proxy/open/a", {}, "POST", "x")).cache).toBe("bypass");
  expect(await states()).toEqual(["miss", "miss", "miss", "hit"]);
  expect(await states({ "x-api-key": issued.key })).toEqual(["miss", "miss", "miss", "hit"]);
});

test("A response that was asked for before a change is not stored after it", async () => {
  const api = await startCachedApi();
  let release = () => {};
  api.respond = (req, res, count) => {
    const send = () => void res.writeHead(200, FRESH).end(`body ${count}`);
    if (req.method === "GET" && count === 1) release = send;
    else send();
  };
  const early = api.ask("/proxy/api/a");
  await expect.poll(() => api.requests.length).toBe(1);
  await api.ask("/proxy/api/a", {}, "PUT", "x");
  const later = await api.ask("/proxy/api/a");
  release();
  expect(await early).toMatchObject({ body: "body 1" });
  expect(later).toMatchObject({ body: "body 3", cache: "miss" });
  expect(await api.ask("/proxy/api/a")).toMatchObject({ body: "body 3", cache: "hit" });
});

test("A stale response is served where the response allows it: while it is revalidated, and when the upstream fails", async () => {
  const api = await startCachedApi({ api2: { cache: true, retries: 0, breaker: { minRequests: 1 } } });
  let failure: "none" | "503" | "closed" = "none";
  api.respond = (req, res, count) => {
    if (failure === "closed") return void req.socket.destroy();
    if (failure === "503") return void res.writeHead(503).end("down");
    const allowed = req.url === "/behind" ? "stale-while-revalidate=100" : "stale-if-error=100";
    res.writeHead(200, {
      "cache-control": `max-age=10, ${req.url === "/strict" ? "must-revalidate, " : ""}${allowed}`,
    });
    res.end(`body ${count}`);
  };
  for (const path of ["/behind", "/error", "/strict"]) await api.ask(`/proxy/api2${path}`);
  api.clock.now += 20_000;
  expect(await api.ask("/proxy/api2/behind")).toMatchObject({ body: "body 1", cache: "stale" });
  await expect.poll(async () => (await api.ask("/proxy/api2/behind")).body).toBe("body 4");
  failure = "503";
  expect(await api.ask("/proxy/api2/error")).toMatchObject({ status: 200, body: "body 2", cache: "stale" });
  failure = "closed";
  const stale = await api.ask("/proxy/api2/error");
  expect(stale).toMatchObject({ status: 200, body: "body 2", cache: "stale" });
  expect(stale.headers["cache-status"]).toMatch(/^ByteProxy; hit; fwd=stale; ttl=-\d+; detail=error$/);
  expect((await api.ask("/proxy/api2/strict")).status).toBeGreaterThanOrEqual(502);
  const refusal = async () => (await api.ask("/proxy/api2/unknown")).headers["x-proxy-error"];
  await expect.poll(refusal).toBe("CIRCUIT_OPEN");
  const asked = api.requests.length;
  expect(await api.ask("/proxy/api2/error")).toMatchObject({ status: 200, cache: "stale" });
  expect(await api.ask("/proxy/api2/unknown")).toMatchObject({ status: 503 });
  expect(api.requests).toHaveLength(asked);
  api.clock.now += 200_000;
  expect((await api.ask("/proxy/api2/error")).status).toBe(503);
});

test("The directives of a request are obeyed", async () => {
  const api = await startCachedApi();
  api.respond = (_req, res, count) => void res.writeHead(200, FRESH).end(`body ${count}`);
  const asked = async (directives: string, path = "/a") => {
    const { status, cache } = await api.ask(`/proxy/api${path}`, { "cache-control": directives });
    return cache ?? status;
  };
  expect(await asked("only-if-cached")).toBe(504);
  await asked("max-age=100");
  api.clock.now += 30_000;
  expect(await asked("only-if-cached")).toBe("hit");
  expect(await asked("max-age=31")).toBe("hit");
  expect(await asked("min-fresh=29")).toBe("hit");
  expect(await asked("min-fresh=31")).toBe("miss");
  api.clock.now += 30_000;
  expect(await asked("max-age=29")).toBe("miss");
  api.clock.now += 70_000;
  expect(await asked("max-stale=11")).toBe("stale");
  expect(await asked("max-stale=9")).toBe("miss");
  expect(await asked("no-cache")).toBe("miss");
  expect((await api.ask("/proxy/api/a", { pragma: "no-cache" })).cache).toBe("miss");
  await asked("no-store", "/unstored");
  expect(await asked("max-age=100", "/unstored")).toBe("miss");
});

test("Requests with a body, with cookies or with preconditions pass the cache", async () => {
  const api = await startCachedApi({ jar: { cache: true, cookies: true } });
  api.respond = (_req, res) => void res.writeHead(200, FRESH).end("body");
  expect((await api.ask("/proxy/api/a", { "content-length": "3" }, "GET", "fat")).cache).toBe("bypass");
  expect((await api.ask("/proxy/jar/a", { cookie: "a=b" })).cache).toBe("bypass");
  expect((await api.ask("/proxy/api/a", { "if-match": '"v1"' })).cache).toBe("bypass");
  expect((await api.ask("/proxy/api/a?_method=DELETE")).cache).toBe("bypass");
  expect((await api.ask("/proxy/api/a", { "x-http-method-override": "PUT" })).cache).toBe("bypass");
  expect((await api.ask("/proxy/api/a", {}, "OPTIONS")).cache).toBe("bypass");
  expect((await api.ask("/proxy/api/a")).cache).toBe("miss");
  // A cookie that is not forwarded is no part of the request.
  expect((await api.ask("/proxy/api/a", { cookie: "a=b" })).cache).toBe("hit");
});

test("Every forwarded header is in the key, and Vary adds the neutral ones", async () => {
  const api = await startCachedApi();
  api.respond = (req, res, count) => {
    const vary: Record<string, string> = req.url === "/varies" ? { vary: "X-Request-Id" } : {};
    res.writeHead(200, { ...FRESH, ...vary }).end(`body ${count}`);
  };
  await api.ask("/proxy/api/a", { "x-mode": "1" });
  expect((await api.ask("/proxy/api/a", { "x-mode": "2" })).cache).toBe("miss");
  expect((await api.ask("/proxy/api/a", { "X-Mode": "1" })).cache).toBe("hit");
  await api.ask("/proxy/api/a", { "x-request-id": "one" });
  expect((await api.ask("/proxy/api/a", { "x-request-id": "two" })).cache).toBe("hit");
  await api.ask("/proxy/api/varies", { "x-request-id": "one" });
  expect((await api.ask("/proxy/api/varies", { "x-request-id": "two" })).cache).toBe("miss");
  expect((await api.ask("/proxy/api/varies", { "x-request-id": "one" })).cache).toBe("hit");
});

test("Links are rewritten for each client, and a hit counts against the rate limit", async () => {
  const api = await startCachedApi({ limited: { cache: true, rateLimit: { maxRequests: 2, windowMs: 60_000 } } });
  api.respond = (req, res) => {
    res.writeHead(200, { ...FRESH, link: `<http://${req.headers.host}/next>; rel="next"` }).end("body");
  };
  const linkFor = async (host: string) =>
    (await api.ask("/proxy/api/a", { host, "x-api-key": PROXY_KEY })).headers.link;
  expect(await linkFor("one.example:1")).toContain("<http://one.example:1/proxy/api/next>");
  expect(await linkFor("two.example:2")).toContain("<http://two.example:2/proxy/api/next>");
  expect(api.requests).toHaveLength(1);
  await api.ask("/proxy/limited/a");
  const hit = await api.ask("/proxy/limited/a");
  expect(hit).toMatchObject({ status: 200, cache: "hit" });
  expect(hit.headers.ratelimit).toContain("r=0");
  expect((await api.ask("/proxy/limited/a")).status).toBe(429);
});

test("DELETE /manage/cache drops stored responses, and an explanation says what the cache has", async () => {
  const api = await startCachedApi({ other: { cache: true } });
  api.respond = (_req, res) => void res.writeHead(200, FRESH).end("body");
  const explained = async (method = "GET") => {
    const asked = { method, path: "/proxy/api/a", headers: { "x-api-key": PROXY_KEY } };
    return (await manage(api.gateway, "POST", "/explain", asked)).body.cache;
  };
  expect(await explained()).toEqual({ state: "miss", age: null });
  for (const service of ["api", "other"]) await api.ask(`/proxy/${service}/a`);
  api.clock.now += 3_000;
  expect(await explained()).toEqual({ state: "hit", age: 3 });
  expect(await explained("POST")).toEqual({ state: "bypass", age: null });
  expect((await manage(api.gateway, "DELETE", "/cache/api")).status).toBe(204);
  expect((await api.ask("/proxy/other/a")).cache).toBe("hit");
  expect((await api.ask("/proxy/api/a")).cache).toBe("miss");
  expect((await manage(api.gateway, "DELETE", "/cache")).status).toBe(204);
  expect((await api.ask("/proxy/other/a")).cache).toBe("miss");
  expect((await manage(api.gateway, "DELETE", "/cache/nope")).status).toBe(404);
  const { body } = await manage(api.gateway, "GET", "/audit");
  expect(body.entries.map(({ action, subject }: { action: string; subject?: string }) => [action, subject])).toEqual([
    ["cache.clear", undefined],
    ["cache.clear", "api"],
  ]);
  const { body: issued } = await manage(api.gateway, "POST", "/keys", { name: "r", permissions: ["manage:read"] });
  expect((await manage(api.gateway, "DELETE", "/cache", undefined, { "x-api-key": issued.key })).status).toBe(403);
});

test("A response that repeats the credential in a header is not stored", async () => {
  const api = await startCachedApi();
  api.respond = (req, res) => {
    res.writeHead(200, { ...FRESH, "x-echo": String(req.headers.authorization) }).end("body");
  };
  expect((await api.ask("/proxy/api/a")).headers["x-echo"]).toBe("Bearer ***");
  expect((await api.ask("/proxy/api/a")).cache).toBe("miss");
});

test("The hooks of a response run for each client, also where it comes from the cache", async () => {
  const upstream = await startUpstream((_req, res) => void res.writeHead(200, FRESH).end("body"));
  const gateway = await startHookedGateway(
    `let count = 0;
    export default { name: "count", async onResponse(response) { await 0; response.headers.set("x-count", String(++count)); } };`,
    { services: { api: { baseUrl: upstream.url, cache: true } } },
  );
  const seen = [];
  for (let i = 0; i < 3; i++) {
    const { headers } = await gateway.ask("/a");
    seen.push([headers.get("x-proxy-cache"), headers.get("x-count")]);
  }
  expect(seen).toEqual([
    ["miss", "1"],
    ["hit", "2"],
    ["hit", "3"],
  ]);
  expect(upstream.requests).toHaveLength(1);
});

test("Clients and upstreams may speak HTTP/2", async () => {
  const upstream = await startHttp2Upstream((stream, headers) => {
    stream.respond({ ":status": 200, ...FRESH });
    stream.end(`body of ${headers[":path"]}`);
  });
  const { gateway } = await startTlsGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url, http2: true, cache: true } },
  });
  const session = await openSession(gateway.url);
  const asked = async () => {
    const { body, headers } = await send(session, { ":path": "/proxy/api/a", authorization: `Bearer ${PROXY_KEY}` });
    return [String(body), headers["x-proxy-cache"]];
  };
  expect(await asked()).toEqual(["body of /a", "miss"]);
  expect(await asked()).toEqual(["body of /a", "hit"]);
  const together = await Promise.all(
    Array.from({ length: 20 }, () => send(session, { ":path": "/proxy/api/b", authorization: `Bearer ${PROXY_KEY}` })),
  );
  expect(new Set(together.map(({ body }) => String(body)))).toEqual(new Set(["body of /b"]));
});
