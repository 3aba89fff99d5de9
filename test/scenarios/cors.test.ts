/** CORS in bytes: which origin's pages may read which response, on both planes. */
import { describe, expect, test } from "vitest";
import { createCors } from "../../src/perimeter/cors.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const PAGE = "https://app.example";

async function start(env: Record<string, string> = {}, headers: Record<string, string | string[]> = {}) {
  const upstream = await startUpstream((_, res) => {
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, CORS_ORIGINS: PAGE, ...env },
    services: {
      api: { baseUrl: upstream.url },
      narrow: { baseUrl: upstream.url, methods: ["GET", "POST"], rateLimit: { maxRequests: 1, windowMs: 60_000 } },
    },
  });
  const ask = (method: string, path: string, lines: readonly string[]) =>
    rawRequest(
      gateway.port,
      [`${method} ${path} HTTP/1.1`, "Host: localhost", ...lines, "Connection: close", "", ""].join("\r\n"),
    );
  const preflight = (origin: string, path = "/proxy/api/x", asked = "PATCH") =>
    ask("OPTIONS", path, [
      `Origin: ${origin}`,
      `Access-Control-Request-Method: ${asked}`,
      "Access-Control-Request-Headers: x-api-key, content-type",
    ]);
  return { upstream, gateway, ask, preflight };
}

/** All values of a header, in order. */
function valuesOf(head: string, name: string): string[] {
  return [...head.matchAll(new RegExp(`^${name}: (.*?)\\r?$`, "gim"))].map((match) => match[1] as string);
}

const KEYED = [`Origin: ${PAGE}`, `x-api-key: ${PROXY_KEY}`];

describe("preflight", () => {
  test.each(["/proxy/api/x", "/proxy/nope/x", "/proxy/services", "/health", "/manage/services"])(
    "A preflight from a listed origin needs no key: %s",
    async (path) => {
      const { upstream, preflight } = await start();
      const { status, head, body } = await preflight(PAGE, path);
      expect(status).toBe(204);
      expect(body).toBe("");
      expect(valuesOf(head, "access-control-allow-origin")).toEqual([PAGE]);
      expect(valuesOf(head, "access-control-allow-methods")).toEqual(["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
      expect(valuesOf(head, "access-control-allow-headers")).toEqual(["x-api-key, content-type"]);
      expect(valuesOf(head, "access-control-max-age")).toEqual(["86400"]);
      expect(valuesOf(head, "access-control-allow-credentials")).toEqual([]);
      expect(valuesOf(head, "vary").join()).toMatch(/\bOrigin\b/);
      expect(upstream.requests).toEqual([]);
    },
  );

  test("A preflight spends nothing of a service's limit, and its response is the same whether the service exists or not", async () => {
    const { preflight, ask } = await start();
    const shown = ({ head }: { head: string }) => head.replace(/^(?:date|x-proxy-request-id):.*\r\n/gim, "");
    for (const method of ["GET", "DELETE", "PROPFIND"]) {
      const unknown = await preflight(PAGE, "/proxy/nope/x", method);
      expect(unknown.status).toBe(204);
      expect(valuesOf(unknown.head, "access-control-allow-methods")[0]).toContain(method);
      for (const path of ["/proxy/narrow/x", "/proxy/api/x", "/proxy/narrow", "/proxy/nope/%2e%2e/x"]) {
        expect(shown(await preflight(PAGE, path, method)), path).toBe(shown(unknown));
      }
    }
    expect((await ask("GET", "/proxy/narrow/", KEYED)).status).toBe(200);
  });

  test("A preflight allows an unusual method where the service does, but never TRACE", async () => {
    const { preflight } = await start();
    expect(
      valuesOf((await preflight(PAGE, "/proxy/api/", "PROPFIND")).head, "access-control-allow-methods")[0],
    ).toMatch(/, PROPFIND$/);
    expect((await preflight(PAGE, "/proxy/api/", "TRACE")).head).not.toContain("TRACE");
  });

  test.each([
    ["a suffix", "https://evilapp.example"],
    ["a prefix", "https://app.example.evil.example"],
    ["another scheme", "http://app.example"],
    ["another port", "https://app.example:8443"],
    ["another case", "https://APP.example"],
    ["the opaque origin", "null"],
    ["a list", `https://evil.example, ${PAGE}`],
    ["the wildcard itself", "*"],
  ])("A preflight from %s of a listed origin is refused with the origin and the variable", async (_, origin) => {
    for (const path of ["/proxy/api/x", "/health"]) {
      const { preflight, upstream } = await start();
      const { status, head, body } = await preflight(origin, path);
      expect(status).toBe(403);
      expect(JSON.parse(body)).toMatchObject({
        code: "ORIGIN_NOT_ALLOWED",
        message: `Origin ${origin.replaceAll(" ", "?")} is not in CORS_ORIGINS.`,
      });
      expect(valuesOf(head, "access-control-allow-origin")).toEqual([]);
      expect(valuesOf(head, "vary")).toEqual(["Origin"]);
      expect(upstream.requests).toEqual([]);
    }
  });

  test("A preflight has the methods, headers and age of the settings", async () => {
    const { preflight } = await start({
      CORS_METHODS: "GET,POST",
      CORS_HEADERS: "x-api-key",
      CORS_MAX_AGE: "5",
      CORS_CREDENTIALS: "true",
    });
    const { head } = await preflight(PAGE);
    expect(valuesOf(head, "access-control-allow-methods")).toEqual(["GET, POST"]);
    expect(valuesOf(head, "access-control-allow-headers")).toEqual(["x-api-key"]);
    expect(valuesOf(head, "access-control-max-age")).toEqual(["5"]);
    expect(valuesOf(head, "access-control-allow-credentials")).toEqual(["true"]);
    expect(valuesOf(head, "access-control-allow-origin")).toEqual([PAGE]);
  });

  test("A preflight names methods as browsers write them, in any case of the settings", async () => {
    const { preflight } = await start({ CORS_METHODS: "get,Patch,odd" });
    expect(valuesOf((await preflight(PAGE)).head, "access-control-allow-methods")).toEqual(["GET, PATCH, odd"]);
  });

  test("A preflight is an ordinary request where CORS is off, and so is every OPTIONS that is no preflight", async () => {
    const off = await start({ CORS_ENABLED: "false" });
    expect((await off.preflight(PAGE)).status).toBe(401);
    const on = await start();
    const { status, head } = await on.ask("OPTIONS", "/proxy/api/", KEYED);
    expect(status).toBe(200);
    expect(valuesOf(head, "access-control-allow-origin")).toEqual([PAGE]);
    expect(on.upstream.requests).toHaveLength(1);
  });
});

describe("response", () => {
  test("A listed origin may read an upstream's response, with the gateway's CORS headers instead of the upstream's", async () => {
    const { ask } = await start(
      {},
      {
        "access-control-allow-origin": "*",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-page-count",
        "access-control-allow-methods": "GET",
        vary: "accept-encoding",
      },
    );
    const { head, status } = await ask("GET", "/proxy/api/", KEYED);
    expect(status).toBe(200);
    expect(valuesOf(head, "access-control-allow-origin")).toEqual([PAGE]);
    expect(valuesOf(head, "access-control-allow-credentials")).toEqual([]);
    expect(valuesOf(head, "access-control-allow-methods")).toEqual([]);
    expect(valuesOf(head, "vary")).toEqual(["accept-encoding, Origin"]);
    expect(valuesOf(head, "access-control-expose-headers")).toHaveLength(1);
    expect(valuesOf(head, "access-control-expose-headers")[0]).toMatch(/X-Proxy-Request-Id.*, x-page-count$/);
  });

  test.each([
    ["refused on the data plane", "GET", "/proxy/api/x", [], 401],
    ["for an unknown service", "GET", "/proxy/nope/x", [`x-api-key: ${PROXY_KEY}`], 404],
    ["refused on the control plane", "GET", "/proxy/services", [], 401],
    ["for a path that is not there", "GET", "/nope", [], 404],
    ["of the control plane's own", "GET", "/health", [], 200],
    ["for a malformed target", "GET", "/proxy/api/#x", [], 400],
    ["for an expectation that cannot be met", "GET", "/proxy/api/", ["Expect: miracles"], 417],
    ["for a method that is not forwarded", "TRACE", "/proxy/api/", [], 405],
    ["for a head that is too large", "GET", "/proxy/api/", [`X-Large: ${"a".repeat(20_000)}`], 431],
    ["for a target that is too long", "GET", `/proxy/api/${"a".repeat(20_000)}`, [], 431],
  ] as const)(
    "A response %s is readable by a listed origin and by no other",
    async (_, method, path, lines, expected) => {
      const { ask } = await start();
      const listed = await ask(method, path, [`Origin: ${PAGE}`, ...lines]);
      expect(listed.status).toBe(expected);
      expect(valuesOf(listed.head, "access-control-allow-origin")).toEqual([PAGE]);
      expect(valuesOf(listed.head, "access-control-expose-headers")).toHaveLength(1);
      expect(valuesOf(listed.head, "vary")).toEqual(["Origin"]);
      for (const other of [["Origin: https://evil.example"], []]) {
        const { head, status } = await ask(method, path, [...other, ...lines]);
        expect(status).toBe(expected);
        expect(valuesOf(head, "access-control-allow-origin")).toEqual([]);
        expect(valuesOf(head, "vary")).toEqual(["Origin"]);
      }
    },
  );

  test("A response has * where every origin is listed, never with credentials and not for the opaque origin", async () => {
    const { ask } = await start({ CORS_ORIGINS: "*" });
    const response = await ask("GET", "/proxy/api/", KEYED);
    expect(valuesOf(response.head, "access-control-allow-origin")).toEqual(["*"]);
    expect(valuesOf(response.head, "access-control-allow-credentials")).toEqual([]);
    expect(valuesOf((await ask("GET", "/health", ["Origin: null"])).head, "access-control-allow-origin")).toEqual([]);
  });

  test("The opaque origin may read a response where it is listed by name", async () => {
    const { ask } = await start({ CORS_ORIGINS: "null" });
    const { head } = await ask("GET", "/health", ["Origin: null"]);
    expect(valuesOf(head, "access-control-allow-origin")).toEqual(["null"]);
  });

  test("A response has no CORS headers where CORS is off or no origin is listed", async () => {
    for (const env of [{ CORS_ENABLED: "false" }, { CORS_ORIGINS: "" }] as Record<string, string>[]) {
      const { ask } = await start(env, { "access-control-allow-origin": "*", vary: "accept" });
      const { head } = await ask("GET", "/proxy/api/", KEYED);
      expect(head).not.toMatch(/access-control-/i);
      expect(valuesOf(head, "vary")).toEqual(["accept"]);
    }
  });
});

describe("Vary", () => {
  const cors = createCors({
    CORS_ENABLED: true,
    CORS_ORIGINS: [PAGE],
    CORS_METHODS: undefined,
    CORS_HEADERS: undefined,
    CORS_CREDENTIALS: false,
    CORS_MAX_AGE: 1,
  });
  test.each([
    [undefined, "Origin"],
    ["", "Origin"],
    ["*", "*"],
    ["Origin", "Origin"],
    ["accept, ORIGIN", "accept, ORIGIN"],
    ["X-Origin", "X-Origin, Origin"],
    ["Accept", "Accept, Origin"],
  ])("The Vary value %j becomes %s", (own, expected) => {
    expect(cors.vary(own)).toBe(expected);
  });
});
