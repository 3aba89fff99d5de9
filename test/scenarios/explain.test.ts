/** `/manage/explain`: it predicts what the pipeline does with a request, and changes nothing. */
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Explanation } from "../../src/data-plane/dry-run/explanation.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { type RawUpstream, startRawUpstream, startUpstream } from "../support/upstream.ts";

const SECRET = "upstream-secret-0123456789";
const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

type Headers = Record<string, string | string[]>;

async function start(env: Record<string, string> = KEYS) {
  const upstream = await startRawUpstream((socket, received) => {
    const [head = "", body] = received.split("\r\n\r\n");
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (body?.length === length) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  });
  const { url: baseUrl } = upstream;
  const gateway = await startGateway({
    env: { CORS_ORIGINS: "https://app.example", UPSTREAM_SECRET: SECRET, ...env },
    services: {
      plain: { baseUrl: `${baseUrl}/base/`, versionedBaseUrls: { v9: `${baseUrl}/api/v9/` } },
      bearer: { baseUrl, auth: { type: "bearer", tokenEnvVar: "UPSTREAM_SECRET" }, setHeaders: { "X-Forced": "yes" } },
      param: { baseUrl, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "UPSTREAM_SECRET" } },
      missing: { baseUrl, auth: { type: "bearer", tokenEnvVar: "NOT_THERE" } },
      optional: { baseUrl, auth: { type: "bearer", tokenEnvVar: "NOT_THERE", required: false }, cookies: true },
      narrow: { baseUrl, methods: ["GET", "POST"], maxBodyBytes: 3, headers: { Accept: "application/json" } },
      raw: { baseUrl, pathPolicy: "raw", forwardedHeaders: true, removeHeaders: ["X-Private"] },
      hinted: { baseUrl, pathHints: [{ match: "^/org/", message: "Not so.", hint: "Use /orgs/." }] },
      limited: { baseUrl, rateLimit: { maxRequests: 4, windowMs: 60_000 } },
      nowhere: { baseUrl: "http://169.254.169.254/latest" },
      socket: { baseUrl, ws: true },
    },
  });
  return { gateway, upstream };
}

async function explain(gateway: Pick<TestGateway, "url">, request: object): Promise<Explanation> {
  const { status, body } = await manage(gateway, "POST", "/explain", request);
  expect([status, body.code]).toEqual([200, undefined]);
  return body;
}

/** Names and values of the headers, without framing and without those that differ in each request. */
function headersOf(pairs: readonly (readonly [string, string])[]): string[] {
  const left = new Set([
    "x-request-id",
    "traceparent",
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
  ]);
  return pairs
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !left.has(name))
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
}

const oneOf = (...choices: string[]) => fc.constantFrom(...choices);
const SERVICES = oneOf(
  ...["plain", "plain", "bearer", "bearer", "param", "missing", "optional", "narrow", "raw", "hinted", "limited"],
  ...["nowhere", "socket", "unknown", "Plain", "plai"],
);
const PATHS = oneOf(
  ...[
    "",
    "/",
    "/a/b",
    "/v9",
    "/v9/users",
    "/org/x",
    "/a%2Fb",
    "//x",
    "/../x",
    "/%2e%2e/x",
    "/a%",
    "/..;/x",
    "/a\\..\\b",
    "/é",
  ],
);
const QUERIES = oneOf(
  "",
  "?",
  "?x=1&y=%20",
  `?api_key=${PROXY_KEY}`,
  `?x=1&api_key=${PROXY_KEY}&key=mine`,
  "?api_key=wrong-0123456789ab",
  "?key=1",
);
const METHODS = oneOf(
  ...["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "NOSUCH", "PROPFIND"],
);
const KEYED = oneOf(
  ...[
    `Authorization: Bearer ${PROXY_KEY}`,
    `x-api-key: ${PROXY_KEY}`,
    `x-api-key: ${PROXY_KEY}`,
    `X_Api_Key: ${PROXY_KEY}`,
  ],
  ...[
    `x-api-key: ${MANAGEMENT_KEY}`,
    "Authorization: Basic dTpw",
    "Authorization: Bearer another-0123456789",
    "X-None: 1",
  ],
);
const OTHERS = oneOf(
  ...[
    "Accept: text/plain",
    "Cookie: a=b",
    "X-Private: 1",
    "Origin: https://app.example",
    "Origin: https://evil.example",
  ],
  ...[
    "X-Forwarded-For: 1.2.3.4",
    "Via: 1.1 else",
    "Referer: http://x/",
    "Sec-Fetch-Site: cross-site",
    "X-Forced: mine",
  ],
  ...["Connection: X-Private", "TE: trailers", "Upgrade: h2c", "Access-Control-Request-Method: PUT", "Expect: 200-ok"],
  ...[
    "Content-Length: 3",
    "Content-Length: 4",
    "Content-Length: 3, 4",
    "Transfer-Encoding: gzip",
    "Host: evil.example",
    "Host: a b",
  ],
  ...["X-Request-Id: mine-1", "User-Agent: curl/8", "X: é", "Content-Type: text/plain", 'If-None-Match: "x"'],
);

const REQUESTS = fc.record({
  service: SERVICES,
  path: PATHS,
  query: QUERIES,
  method: METHODS,
  lines: fc.tuple(fc.option(KEYED, { freq: 4 }), fc.uniqueArray(OTHERS, { maxLength: 3 })),
});

/** Sends the explained request, with the body that its headers announce. */
async function send(gateway: TestGateway, method: string, path: string, lines: readonly string[]) {
  const hasHost = lines.some((line) => line.startsWith("Host:"));
  const head = [`${method} ${path} HTTP/1.1`, ...(hasHost ? [] : [`Host: 127.0.0.1:${gateway.port}`]), ...lines];
  const length = lines.find((line) => line.startsWith("Content-Length:"))?.slice(-1) ?? "0";
  return rawRequest(gateway.port, `${head.join("\r\n")}\r\n\r\n${"x".repeat(Number(length))}`, { until: "\r\n\r\n" });
}

function asHeaders(lines: readonly string[]): Headers {
  const headers: Headers = {};
  for (const line of lines) {
    const [name, value] = line.split(/: (.*)/s) as [string, string];
    headers[name] = headers[name] === undefined ? value : [headers[name], value].flat();
  }
  return headers;
}

function expectSame(
  explanation: Explanation,
  answer: Awaited<ReturnType<typeof send>>,
  upstream: RawUpstream,
  seen: number,
) {
  const code = /^X-Proxy-Error: (\S+)/im.exec(answer.head)?.[1];
  if (explanation.verdict === "refuse") {
    expect([answer.status, code]).toEqual([explanation.refusal?.status, explanation.refusal?.code]);
    // A second may pass between the two.
    const untimed = (message: unknown) => String(message).replace(/\d+ seconds?/, "some seconds");
    if (answer.body !== "")
      expect(untimed(JSON.parse(answer.body).message)).toBe(untimed(explanation.refusal?.message));
    expect(upstream.received.length).toBe(seen);
    return;
  }
  expect([answer.status, code]).toEqual([explanation.verdict === "preflight" ? 204 : 200, undefined]);
  if (explanation.verdict === "preflight") return expect(upstream.received.length).toBe(seen);
  const [line = "", ...lines] = (upstream.received[seen] as string).replace(/\r\n\r\n.*/s, "").split("\r\n");
  const masked = (text: string) => text.replaceAll(SECRET, "***").replaceAll("Bearer ***", "***");
  const { upstream: described } = explanation;
  expect(masked(line)).toBe(`${described?.method} ${described?.url.slice(upstream.url.length)} HTTP/1.1`);
  const sent = lines.map((each) => each.split(/: (.*)/s) as [string, string]);
  const shown = [...(described?.headers.kept ?? []), ...(described?.headers.added ?? [])];
  const names = (all: readonly (readonly [string, string])[]) => headersOf(all.map(([name]) => [name, ""]));
  expect(names(shown.map(({ name, value }) => [name, value]))).toEqual(names(sent));
  const values = headersOf(sent.map(([name, value]) => [name, masked(value)]));
  for (const one of headersOf(shown.filter(({ value }) => value !== "***").map(({ name, value }) => [name, value]))) {
    expect(values).toContain(one);
  }
}

describe("prediction", () => {
  test.each([
    ["with keys", KEYS],
    ["on open planes", {}],
    ["with credentials for every origin off, and CORS off", { ...KEYS, CORS_ENABLED: "false" }],
  ])("The pipeline does with random requests what was explained: %s", { timeout: 60_000 }, async (_, env) => {
    const { gateway, upstream } = await start(env as Record<string, string>);
    const verdicts = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(REQUESTS, async ({ service, path, query, method, lines: [key, others] }) => {
        const lines = [...(key === null ? [] : [key]), ...others];
        const target = `/proxy/${service}${path}${query}`;
        const explanation = await explain(gateway, { method, path: target, headers: asHeaders(lines) });
        const seen = upstream.received.length;
        const answer = await send(gateway, method, target, lines);
        expectSame(explanation, answer, upstream, seen);
        const word = explanation.refusal?.code ?? explanation.verdict;
        verdicts.set(word, (verdicts.get(word) ?? 0) + 1);
      }),
      { numRuns: 400, seed: 42 },
    );
    expect(verdicts.get("forward")).toBeGreaterThan(20);
    expect(verdicts.size).toBeGreaterThan(8);
  });

  const PREFLIGHT = ["Access-Control-Request-Method: PUT", `x-api-key: ${PROXY_KEY}`];
  const HANDSHAKE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `x-api-key: ${PROXY_KEY}`,
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  test.each([
    ["a preflight", "OPTIONS", "/proxy/plain/x", ["Origin: https://app.example", ...PREFLIGHT], "preflight"],
    [
      "a preflight from an unlisted origin",
      "OPTIONS",
      "/proxy/plain/x",
      ["Origin: https://evil.example", ...PREFLIGHT],
      "refuse",
    ],
    ["a handshake", "GET", "/proxy/socket/x", HANDSHAKE, "forward"],
    ["a handshake with a service without WebSocket", "GET", "/proxy/plain/x", HANDSHAKE, "refuse"],
    ["a handshake with a body", "GET", "/proxy/socket/x", [...HANDSHAKE, "Content-Length: 3"], "refuse"],
    ["CONNECT", "CONNECT", "/proxy/plain/x", [`x-api-key: ${PROXY_KEY}`], "refuse"],
    ["a head that is too large", "GET", "/proxy/plain/x", [`X: ${"x".repeat(20_000)}`], "refuse"],
    ["too many lines", "GET", "/proxy/plain/x", Array.from({ length: 300 }, (_, i) => `X-${i}: 1`), "refuse"],
  ] as const)("The pipeline does what was explained: %s", async (_, method, path, lines, verdict) => {
    const { gateway, upstream } = await start();
    const explanation = await explain(gateway, { method, path, headers: asHeaders(lines) });
    expect(explanation.verdict).toBe(verdict);
    expectSame(explanation, await send(gateway, method, path, lines), upstream, 0);
  });

  test("The pipeline does what was explained while all slots are in use", async () => {
    const upstream = await startUpstream(() => {});
    const services = { api: { baseUrl: upstream.url }, one: { baseUrl: upstream.url, maxConcurrent: 1 } };
    const gateway = await startGateway({ env: { ...KEYS, MAX_IN_FLIGHT: "2" }, services });
    const headers = { "x-api-key": PROXY_KEY };
    const verdictOf = async (service: string) => {
      const { refusal } = await explain(gateway, { method: "GET", path: `/proxy/${service}/`, headers });
      return refusal?.message ?? "forward";
    };
    const hang = new AbortController();
    onTestFinished(() => hang.abort());
    const ask = (service: string) =>
      fetch(`${gateway.url}/proxy/${service}/`, { headers, signal: hang.signal }).catch(() => {});

    expect(await verdictOf("one")).toBe("forward");
    void ask("one");
    await eventually(() => upstream.requests.length === 1);
    expect(await verdictOf("one")).toBe("1 request to one in flight; its maxConcurrent is 1.");
    expect(await verdictOf("api")).toBe("forward");
    void ask("api");
    await eventually(() => upstream.requests.length === 2);
    expect(await verdictOf("api")).toBe("2 requests in flight; MAX_IN_FLIGHT is 2.");
  });
});

describe("explanation", () => {
  const keyed = { "x-api-key": PROXY_KEY };

  test("An explanation lists every step in order, the upstream's URL, the headers, the credential and the limit", async () => {
    const { gateway, upstream } = await start();
    const request = {
      method: "GET",
      path: "/proxy/limited/a%2Fb?x=1",
      headers: { ...keyed, Accept: "text/html", Cookie: "a=b" },
    };
    expect(await explain(gateway, request)).toEqual({
      verdict: "forward",
      refusal: null,
      hooks: null,
      request: { method: "GET", path: "/proxy/limited/a%2Fb?x=***", address: "127.0.0.1", caller: "proxy-key" },
      service: "limited",
      keyPlaces: ["Authorization: Bearer <key>", "x-api-key: <key>", "?api_key=<key>"],
      steps: [
        "framing",
        "loop",
        "shed",
        "authenticate",
        "route",
        "permission",
        "authorize",
        "credential",
        "service shed",
        "breaker",
        "connections",
        "rate limit",
        "egress",
      ].map((step) => ({ step, verdict: "pass", reached: true })),
      upstream: {
        method: "GET",
        url: `${upstream.url}/a%2Fb?x=1`,
        transport: "http",
        headers: {
          added: expect.arrayContaining([{ name: "Host", value: new URL(upstream.url).host }]),
          removed: ["Host", "x-api-key", "Cookie"],
          kept: [{ name: "Accept", value: "text/html" }],
        },
        proxy: null,
        timeoutMs: 30_000,
        connectTimeoutMs: 5_000,
        retries: 2,
      },
      credential: { state: "none", type: null, place: null, source: null, fingerprint: null },
      rateLimit: { per: "service", limit: 4, remaining: 4, resetIn: 60 },
      budgets: [],
      models: null,
      breaker: { state: "closed", failures: 0, requests: 0, retryAfter: null },
      cache: null,
      idempotency: null,
      quota: null,
    });
  });

  test("An explanation lists the steps after a refusal as not reached", async () => {
    const { gateway } = await start();
    const explanation = await explain(gateway, { method: "GET", path: "/proxy/missing/x" });
    expect(explanation).toMatchObject({ verdict: "refuse", refusal: { status: 401, code: "MISSING_CREDENTIALS" } });
    const refused = explanation.steps.filter(({ verdict }) => verdict === "refuse");
    expect(refused).toMatchObject([
      { step: "authenticate", reached: true },
      { step: "credential", reached: false, refusal: { code: "UPSTREAM_CREDENTIAL_MISSING" } },
    ]);
    expect(explanation.credential).toMatchObject({ state: "missing", type: "bearer", source: "NOT_THERE" });
    expect(explanation.upstream?.url).toMatch(/\/x$/);
  });

  test.each([
    ["proxy-key", "forward", undefined],
    ["management-key", "refuse", "INVALID_API_KEY"],
    ["anonymous", "refuse", "MISSING_CREDENTIALS"],
  ])("The member `caller` replaces the authenticated caller: %s", async (caller, verdict, code) => {
    const { gateway } = await start();
    const explanation = await explain(gateway, { method: "GET", path: "/proxy/plain/x", caller });
    expect(explanation.verdict).toBe(verdict);
    expect(explanation.refusal?.code).toBe(code);
  });

  test("An explanation shows no hidden header value of the services file, and does not reveal whether a guess is right", async () => {
    const upstream = await startUpstream();
    const setHeaders = { "X-Forwarded-Token": "hidden-1", "X-Pin": "hidden-2" };
    const services = { api: { baseUrl: upstream.url, setHeaders, headers: { Forwarded: "secret=hidden-3" } } };
    const gateway = await startGateway({ env: KEYS, services });
    const ask = async (pin: string) => {
      const { upstream: described } = await explain(gateway, {
        method: "GET",
        path: "/proxy/api/",
        headers: { "X-Pin": pin },
      });
      return JSON.stringify(described?.headers).replace(/"(?:X-Request-Id|traceparent)","value":"[^"]*"/g, "");
    };
    expect(await ask("hidden-2")).toBe(await ask("wrong-2"));
    expect(await ask("hidden-2")).not.toMatch(/hidden-/);
  });

  test("An explanation uses no quota and no slot, sends no request and writes no access line", async () => {
    const { gateway, upstream } = await start();
    for (let round = 0; round < 20; round++) {
      const { rateLimit } = await explain(gateway, { method: "GET", path: "/proxy/limited/", headers: keyed });
      expect(rateLimit?.remaining).toBe(4);
    }
    expect(upstream.received).toEqual([]);
    expect(gateway.exchanges()).toEqual([]);
    const status = (await (await fetch(`${gateway.url}/status`)).json()) as { load: object };
    expect(status.load).toMatchObject({ inFlight: { current: 0 } });
    expect(await (await fetch(`${gateway.url}/metrics`)).text()).not.toMatch(/byteproxy_requests_total\{/);
  });

  test("An explanation contains no secret, wherever the request has one", async () => {
    const { gateway } = await start();
    const headers = {
      ...keyed,
      Cookie: `k=${PROXY_KEY}`,
      "X-Else": PROXY_KEY,
      Authorization: `Bearer ${SECRET}`,
      Link: SECRET,
    };
    for (const service of ["bearer", "param", "optional", "plain", SECRET]) {
      for (const path of [
        `/${PROXY_KEY}`,
        `?q=${encodeURIComponent(SECRET)}`,
        `?api_key=${PROXY_KEY}&${MANAGEMENT_KEY}`,
      ]) {
        const text = JSON.stringify(
          await explain(gateway, { method: "GET", path: `/proxy/${service}${path}`, headers }),
        );
        for (const secret of [PROXY_KEY, MANAGEMENT_KEY, SECRET]) expect(text).not.toContain(secret);
      }
    }
    const { upstream, credential } = await explain(gateway, { method: "GET", path: "/proxy/param/x", headers });
    expect(upstream?.url).toMatch(/\/x\?key=\*\*\*$/);
    expect(credential).toMatchObject({ place: "query key", fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/) });
  });

  test.each([
    ["nothing", {}, ["method", "path"]],
    ["a list", [], ["method", "path"]],
    ["a path of the control plane", { method: "GET", path: "/proxy/services" }, ["path"]],
    ["a path with a space", { method: "GET", path: "/proxy/echo/a b" }, ["path"]],
    ["a path with a line break", { method: "GET", path: "/proxy/echo/a\r\nX: y" }, ["path"]],
    ["a method with a space", { method: "GET /", path: "/proxy/echo/" }, ["method"]],
    ["a header with a line break", { method: "GET", path: "/proxy/echo/", headers: { X: "a\r\nY: b" } }, ["headers"]],
    ["an invalid header name", { method: "GET", path: "/proxy/echo/", headers: { "X:": "a" } }, ["headers"]],
    ["a header that is a number", { method: "GET", path: "/proxy/echo/", headers: { X: 1 } }, ["headers"]],
    ["an unknown member", { method: "GET", path: "/proxy/echo/", body: "x" }, ["body"]],
    ["an unknown caller", { method: "GET", path: "/proxy/echo/", caller: "unknown" }, ["caller"]],
  ])("A request for an explanation with %s is refused, with the field", async (_, request, fields) => {
    const { gateway } = await start();
    const { status, body } = await manage(gateway, "POST", "/explain", request);
    expect([status, body.code]).toEqual([400, "VALIDATION_ERROR"]);
    expect(Object.keys(body.details)).toEqual(fields);
  });
});
