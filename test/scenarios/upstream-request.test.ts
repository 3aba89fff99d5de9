/** The request as the upstream receives it: path, headers and credential, read from the raw bytes. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function start(service: Record<string, unknown> = {}, env: Record<string, string> = {}, basePath = "") {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const versionedBaseUrls = { v9: `${upstream.url}/api/v9/` };
  const services = { api: { baseUrl: `${upstream.url}${basePath}`, versionedBaseUrls, ...service } };
  const gateway = await startGateway({ env, services });
  const sendRequest = (target: string, headers = "", method = "GET") =>
    rawRequest(gateway.port, `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}Connection: close\r\n\r\n`);
  /** Lower-case names, and values as they arrived, without framing and the headers that are always added. */
  const headersOf = (text = upstream.received[0] ?? "") =>
    text
      .split("\r\n")
      .slice(1, -2)
      .map((line) => line.split(": ") as [string, string])
      .map(([name, value]) => [name.toLowerCase(), value] as const);
  const header = (name: string) => headersOf().flatMap(([each, value]) => (each === name ? [value] : []));
  return { upstream, gateway, sendRequest, header, headersOf };
}

describe("path", () => {
  test.each([
    ["", "/proxy/api", "/"],
    ["", "/proxy/api/", "/"],
    ["", "/proxy/api?x=1", "/?x=1"],
    ["", "/proxy/api?", "/?"],
    ["", "/proxy/api//a//b/", "//a//b/"],
    ["", "/proxy/api/a%2Fb%2fc%20d+e", "/a%2Fb%2fc%20d+e"],
    ["", "/proxy/api/^[]{}|\"<>~'?z=^[]{}|\"<>~'+%20&a=%", "/^[]{}|\"<>~'?z=^[]{}|\"<>~'+%20&a=%"],
    ["", "/proxy/api/v9", "/api/v9/"],
    ["", "/proxy/api/v9/users", "/api/v9/users"],
    ["", "/proxy/api/v9?x", "/api/v9/?x"],
    ["", "/proxy/api/v90/users", "/v90/users"],
    ["", "/proxy/api/%769/users", "/%769/users"],
    ["/base", "/proxy/api", "/base"],
    ["/base", "/proxy/api/a", "/base/a"],
    ["/base/", "/proxy/api", "/base/"],
    ["/base/", "/proxy/api/", "/base/"],
    ["/base/", "/proxy/api/a?b=c?d", "/base/a?b=c?d"],
  ])("On base %j, %s requests %s", async (basePath, target, expected) => {
    const { upstream, sendRequest } = await start({}, {}, basePath);
    expect((await sendRequest(target)).status).toBe(200);
    expect(upstream.received[0]?.split(" ")[1]).toBe(expected);
  });

  test.each(["/..", "/%2e%2e/x", "/..%2fx", "/..\\x", "/a/..;/b", "/%00", "/a%"])(
    "The path %s is refused and nothing is sent",
    async (path) => {
      const { upstream, sendRequest } = await start();
      const response = await sendRequest(`/proxy/api${path}`);
      expect(response.status).toBe(400);
      expect(response.head).toMatch(/^X-Proxy-Error: INVALID_PATH/m);
      expect(upstream.received).toEqual([]);
    },
  );

  test("With pathPolicy raw a path with dot segments is forwarded unchanged, and never above the base", async () => {
    const { upstream, sendRequest } = await start({ pathPolicy: "raw" }, {}, "/bucket");
    expect((await sendRequest("/proxy/api/a/../b/./c")).status).toBe(200);
    expect(upstream.received[0]).toMatch(/^GET \/bucket\/a\/\.\.\/b\/\.\/c HTTP/);
    expect((await sendRequest("/proxy/api/../other")).status).toBe(400);
    expect((await sendRequest("/proxy/api/a/%2e%2e/%2e%2e/other")).status).toBe(400);
  });

  test("A path that matches a path hint gets 400 with the hint's message", async () => {
    const hint = { match: "^/org/", message: "Invalid path", hint: "use /orgs/ORG" };
    const { upstream, sendRequest } = await start({ pathHints: [hint] });
    const response = await sendRequest("/proxy/api/org/x");
    expect(response.status).toBe(400);
    expect(JSON.parse(response.body)).toMatchObject({ message: "Invalid path", hint: "use /orgs/ORG" });
    expect(upstream.received).toEqual([]);
  });
});

describe("service key", () => {
  test.each([
    "__proto__",
    "constructor",
    "%5f%5fproto",
    "a%2fb",
    "API",
    "..%2fmanage",
    "x".repeat(10_000),
    "%F0%9F%98%80",
  ])("The service key %s is looked up as written, and not found", async (key) => {
    const { sendRequest } = await start();
    const response = await sendRequest(`/proxy/${key}/x`);
    expect(response.status).toBe(404);
    const body = JSON.parse(response.body) as { code: string; availableServices: string[] };
    expect(body.code).toBe("SERVICE_NOT_CONFIGURED");
    expect(body.availableServices).toContain("api");
  });

  test("A misspelled service key gets a suggestion", async () => {
    const { sendRequest } = await start();
    expect((await sendRequest("/proxy/githup/x")).body).toContain('Did you mean \\"github\\"?');
  });
});

describe("credential", () => {
  test.each([
    ["bearer", {}, "TOK", "authorization", "Bearer TOK"],
    ["bot", {}, "TOK", "authorization", "Bot TOK"],
    ["basic", {}, "user:pä:ss", "authorization", `Basic ${Buffer.from("user:pä:ss").toString("base64")}`],
    ["api-key", { headerName: "X-Token" }, "TOK", "x-token", "TOK"],
  ])(
    "A credential of type %s is injected once, after all headers of the caller",
    async (type, place, secret, name, value) => {
      const { sendRequest, header, headersOf } = await start(
        { auth: { type, tokenEnvVar: "SECRET", ...place } },
        { SECRET: secret },
      );
      expect((await sendRequest("/proxy/api/", `${name}: forged\r\nConnection: ${name}\r\n`)).status).toBe(200);
      expect(header(name)).toEqual([value]);
      expect(headersOf().at(-1)?.[0]).toBe(name);
    },
  );

  test("A credential in the query replaces the caller's parameter and is encoded", async () => {
    const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "SECRET" };
    const { upstream, sendRequest } = await start({ auth }, { SECRET: "a b&c" });
    await sendRequest("/proxy/api/x?key=forged&q=1");
    await sendRequest("/proxy/api/x");
    const targets = upstream.received.join("").match(/(?<=^GET )\S+/gm);
    expect(targets).toEqual(["/x?q=1&key=a%20b%26c", "/x?key=a%20b%26c"]);
  });

  test("A credential can come from a file, without its trailing newlines", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "byteproxy-token-")), "token");
    writeFileSync(file, "from-a-file\n\n");
    const { sendRequest, header } = await start({ auth: { type: "bearer", tokenFile: file } });
    await sendRequest("/proxy/api/");
    expect(header("authorization")).toEqual(["Bearer from-a-file"]);
  });

  test("A missing required credential is 401 with the variable's name, and nothing is sent or spent", async () => {
    const rateLimit = { maxRequests: 1, windowMs: 60_000 };
    const { upstream, sendRequest } = await start({ auth: { type: "bearer", tokenEnvVar: "NOT_SET" }, rateLimit });
    for (let i = 0; i < 3; i++) {
      const response = await sendRequest("/proxy/api/");
      expect(response.status).toBe(401);
      expect(JSON.parse(response.body)).toMatchObject({ code: "UPSTREAM_CREDENTIAL_MISSING", service: "api" });
      expect(response.body).toContain("NOT_SET");
      expect(response.head).toMatch(/^WWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic realm="ByteProxy"$/im);
    }
    expect(upstream.received).toEqual([]);
  });

  test("If an optional credential is missing, the caller's own is forwarded", async () => {
    const { sendRequest, header } = await start({ auth: { type: "bearer", tokenEnvVar: "NOT_SET", required: false } });
    await sendRequest("/proxy/api/", "Authorization: Bearer own\r\n");
    expect(header("authorization")).toEqual(["Bearer own"]);
  });
});

describe("headers to the upstream", () => {
  test("Hop-by-hop headers, headers that Connection names and all headers about the client are removed", async () => {
    // Without a key the gateway refuses what may have come through another proxy.
    const { sendRequest, headersOf } = await start({}, { PROXY_API_KEY: "a-key-of-sixteen-or-more" });
    const ending = [
      "x-api-key: a-key-of-sixteen-or-more",
      "Keep-Alive: timeout=5",
      "Proxy-Connection: keep-alive",
      "Proxy-Authorization: Basic x",
      "TE: gzip",
      "Trailer: X",
      "HTTP2-Settings: AAA",
      "X-Named: by connection",
      "Cookie: a=b",
      "Referer: http://a/",
      "X_Forwarded_For: 9.9.9.9",
      "Content_Length: 5",
      "Transfer_Encoding: chunked",
      "X-Request_Id: forged",
    ];
    const headers = `${ending.join("\r\n")}\r\nX-Kept: yes\r\nX-Kept: twice\r\nX_Other: kept\r\nConnection: close, x-named, x-request-id, via\r\n`;
    await sendRequest("/proxy/api/", headers);
    const always = ["host", "connection", "x-request-id", "traceparent", "via"];
    const names = headersOf().map(([name]) => name);
    expect(names.filter((name) => !always.includes(name))).toEqual(["x-kept", "x-kept", "x_other"]);
    expect(names).toEqual(expect.arrayContaining(always));
  });

  test("removeHeaders removes headers, headers adds missing ones and setHeaders replaces them", async () => {
    const service = {
      headers: { Accept: "a/b", "X-Default": "ours" },
      setHeaders: { "User-Agent": "forced" },
      removeHeaders: ["X-Gone"],
    };
    const { sendRequest, header } = await start(service);
    await sendRequest("/proxy/api/", "accept: text/plain\r\nuser-agent: curl\r\nX-Gone: 1\r\n");
    expect([header("accept"), header("x-default"), header("user-agent"), header("x-gone")]).toEqual([
      ["text/plain"],
      ["ours"],
      ["forced"],
      [],
    ]);
  });

  test("Cookies are forwarded only with cookies: true", async () => {
    const { sendRequest, header } = await start({ cookies: true });
    await sendRequest("/proxy/api/", "Cookie: a=b; c=d\r\n");
    expect(header("cookie")).toEqual(["a=b; c=d"]);
  });

  test("forwardedHeaders sends a correct set, never the caller's", async () => {
    const env = { PROXY_API_KEY: "a-key-of-sixteen-or-more" };
    const { sendRequest, header } = await start({ forwardedHeaders: true }, env);
    const forged = "X-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n";
    await sendRequest("/proxy/api/", `x-api-key: a-key-of-sixteen-or-more\r\n${forged}`);
    expect(header("x-forwarded-for")).toEqual(["127.0.0.1"]);
    expect(header("x-forwarded-proto")).toEqual(["http"]);
    expect(header("x-forwarded-host")).toEqual(["localhost"]);
    expect(header("forwarded")).toEqual(['for=127.0.0.1;host="localhost";proto=http']);
    expect(header("x-real-ip")).toEqual([]);
  });

  test("X-Forwarded-For is trusted only from the peers in TRUST_PROXY", async () => {
    const key = "a-key-of-sixteen-or-more";
    for (const [trusted, client] of [
      ["127.0.0.1", "9.9.9.9"],
      ["10.0.0.0/8", "127.0.0.1"],
    ] as const) {
      const { sendRequest, header, gateway } = await start(
        { forwardedHeaders: true },
        { PROXY_API_KEY: key, TRUST_PROXY: trusted },
      );
      await sendRequest("/proxy/api/", `x-api-key: ${key}\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n`);
      expect(header("x-forwarded-for")).toEqual([client]);
      expect(gateway.exchanges()[0]?.client).toBe(client);
    }
  });

  test("Valid X-Request-Id and traceparent values are forwarded, and invalid ones are replaced", async () => {
    const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const { upstream, sendRequest, headersOf } = await start();
    await sendRequest("/proxy/api/", `X-Request-Id: my.id-1\r\ntraceparent: ${good}\r\ntracestate: a=b\r\n`);
    await sendRequest("/proxy/api/", `X-Request-Id: not "valid"\r\ntraceparent: ${good.replace("0af7", "zzzz")}\r\n`);
    const requests = upstream.received.join("").split(/(?=^GET )/m);
    const [first, second] = requests.map((text) => Object.fromEntries(headersOf(text)));
    expect(first).toMatchObject({ "x-request-id": "my.id-1", traceparent: good, tracestate: "a=b" });
    expect(second?.["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(second?.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  });
});

describe("trace context", () => {
  const id = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
  test.each([
    ["of version 00", `00-${id}-01`],
    ["that is not sampled", `00-${id}-00`],
    ["of a later version", `cc-${id}-01`],
    ["of a later version with more fields", `cc-${id}-01-what-comes-then`],
  ])("A traceparent %s is forwarded unchanged, with its tracestate", async (_, traceparent) => {
    const { sendRequest, header } = await start();
    await sendRequest("/proxy/api/", `traceparent: ${traceparent}\r\ntracestate: a=b\r\ntracestate: c=d\r\n`);
    expect(header("traceparent")).toEqual([traceparent]);
    expect(header("tracestate")).toEqual(["a=b", "c=d"]);
  });

  test.each([
    ["that is missing", ""],
    ["with more fields than version 00 has", `traceparent: 00-${id}-01-more\r\n`],
    ["of the invalid version ff", `traceparent: ff-${id}-01\r\n`],
    ["of zeros", `traceparent: 00-${"0".repeat(32)}-b7ad6b7169203331-01\r\n`],
    ["with a span of zeros", `traceparent: 00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01\r\n`],
    ["in capitals", `traceparent: 00-${id.toUpperCase()}-01\r\n`],
    ["that is present twice", `traceparent: 00-${id}-01\r\n`.repeat(2)],
  ])("A traceparent %s is replaced, and the tracestate is removed", async (_, lines) => {
    const { sendRequest, header } = await start();
    await sendRequest("/proxy/api/", `${lines}Tracestate: a=b\r\ntracestate: c=d\r\nX-Mine: 1\r\n`);
    expect(header("traceparent")).toEqual([expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)]);
    expect(header("traceparent")[0]).not.toContain("b7ad6b7169203331");
    expect(header("tracestate")).toEqual([]);
    expect(header("x-mine")).toEqual(["1"]);
  });
});

describe("loop", () => {
  test("A request with this instance's Via gets 508 on both planes", async () => {
    const { gateway, sendRequest, header } = await start({}, { PROXY_API_KEY: "a-key-of-sixteen-or-more" });
    const response = await sendRequest("/proxy/api/", "x-api-key: a-key-of-sixteen-or-more\r\nVia: 1.1 other\r\n");
    expect(response.status).toBe(200);
    const via = header("via")[0] ?? "";
    expect(via).toMatch(/^1\.1 other, 1\.1 byteproxy-[0-9a-f]{12}$/);
    for (const path of ["/proxy/api/", "/health", "/manage/x"]) {
      const looped = await fetch(`${gateway.url}${path}`, { headers: { via } });
      expect(looped.status).toBe(508);
      expect(await looped.json()).toMatchObject({ code: "LOOP_DETECTED" });
    }
  });

  test("A loop through a service that leads to the gateway itself ends with 508", async () => {
    const first = await startGateway({ env: { PROXY_API_KEY: "a-key-of-sixteen-or-more" } });
    const services = { back: { baseUrl: `${first.url}/proxy/echo` } };
    const second = await startGateway({ services });
    expect((await fetch(`${second.url}/proxy/back/`)).status).toBe(401);
  });
});
