/** The routes of the gateway itself, and the form of their errors. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";

describe("the control plane", () => {
  test("A slash at the end of a path changes nothing, and leads to the documentation page", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    for (const path of ["/health/", "/health/ready/", "/version/", "/up/"]) {
      expect((await fetch(`${gateway.url}${path}`)).status, path).toBe(200);
    }
    const page = await fetch(`${gateway.url}/docs/?x=1`);
    expect([page.status, page.url]).toEqual([200, `${gateway.url}/docs`]);
    expect((await fetch(`${gateway.url}/manage/services/`)).status).toBe(401);
    expect((await fetch(`${gateway.url}/health/nope/`)).status).toBe(404);
  });

  test("The public routes report health, version and links", async () => {
    const gateway = await startGateway({ env: { GITHUB_TOKEN: "a-github-token" } });
    const get = async (path: string) => (await fetch(`${gateway.url}${path}`)).json();
    const { version } = (await get("/version")) as { version: string };
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
    for (const path of ["/health", "/health/live", "/health/liveness"]) {
      expect(await get(path)).toMatchObject({
        status: "ok",
        uptime: expect.any(Number),
        timestamp: expect.any(String),
        version,
      });
    }
    expect(await get("/health/ready")).toEqual({ status: "ready", reasons: [] });
    expect(await get("/health/version")).toEqual(await get("/version"));
    expect(await get("/")).toMatchObject({ name: "ByteProxy", version, links: { health: "/health" } });
    const { services, count } = (await get("/proxy/services")) as {
      services: Record<string, unknown>[];
      count: number;
    };
    expect(count).toBe(services.length);
    expect(services.find(({ key }) => key === "github")).toEqual({
      key: "github",
      name: "GitHub API",
      baseUrl: "https://api.github.com",
      hasAuth: true,
      rateLimit: null,
    });
    expect(services.find(({ key }) => key === "openai")).toMatchObject({ hasAuth: false });
    expect(JSON.stringify(services)).not.toContain("a-github-token");
  });

  test("GET /proxy/auth-test confirms that the caller's key is valid", async () => {
    const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY } });
    for (const [path, headers] of [
      ["/proxy/auth-test", { authorization: `Bearer ${PROXY_KEY}` }],
      ["/proxy/auth-test", { "x-api-key": PROXY_KEY }],
      [`/proxy/auth-test?api_key=${PROXY_KEY}`, {}],
    ] as const) {
      const answer = await fetch(`${gateway.url}${path}`, { headers });
      expect(await answer.json()).toEqual({ success: true, caller: "proxy-key", protected: true });
    }
  });

  test.each([
    ["GET", "/nope", 404, "NOT_FOUND"],
    ["GET", "/proxy", 404, "NOT_FOUND"],
    ["GET", "/health/nope", 404, "NOT_FOUND"],
    ["POST", "/health", 405, "METHOD_NOT_ALLOWED"],
    ["DELETE", "/proxy/services", 405, "METHOD_NOT_ALLOWED"],
    ["GET", "/proxy/", 404, "SERVICE_NOT_CONFIGURED"],
    ["GET", "/manage/nope", 404, "NOT_FOUND"],
    ["GET", "/\\host", 400, "INVALID_PATH"],
    ["GET", "//host/x", 404, "NOT_FOUND"],
  ])("%s %s fails with %i %s in the common error form", async (method, path, status, code) => {
    const gateway = await startGateway();
    const answer = await rawRequest(
      gateway.port,
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    );
    expect(answer.status).toBe(status);
    expect(answer.head).toMatch(new RegExp(`^x-proxy-error: ${code}$`, "im"));
    expect(answer.head).toMatch(/^content-type: application\/json/im);
    const body = JSON.parse(answer.body) as Record<string, unknown>;
    expect(Object.keys(body)).toEqual(
      expect.arrayContaining(["error", "message", "code", "status", "requestId", "hint", "documentation"]),
    );
    expect(body).toMatchObject({ status, code });
    if (status === 405) expect(answer.head).toMatch(/^allow: .*GET/im);
  });

  test("Every spelling of a path under /manage requires the management key", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    const spellings: [path: string, status: number][] = [
      ["/manage", 404],
      ["/manage/", 404],
      ["/manage/a/b/c", 404],
      ["/manage//x", 404],
      ["/manage/services", 200],
      ["/%6danage/services", 200],
      ["/manage/%73ervices", 200],
      ["/manage/services?x=1", 200],
    ];
    for (const [path, status] of spellings) {
      expect((await fetch(`${gateway.url}${path}`)).status, path).toBe(401);
      const forms: Record<string, string>[] = [
        { authorization: `Bearer ${MANAGEMENT_KEY}` },
        { "x-api-key": MANAGEMENT_KEY },
      ];
      for (const headers of forms)
        expect((await fetch(`${gateway.url}${path}`, { headers })).status, path).toBe(status);
      const query = `${path.includes("?") ? "&" : "?"}api_key=${MANAGEMENT_KEY}`;
      expect((await fetch(`${gateway.url}${path}${query}`)).status, path).toBe(status);
    }
    // No spelling in this list may reach the route.
    for (const path of [
      "/MANAGE/services",
      "//manage/services",
      "/manage;x/services",
      "/x/../manage/services",
      "/manage\\services",
    ]) {
      const answer = await rawRequest(
        gateway.port,
        `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      );
      expect([400, 401, 404], path).toContain(answer.status);
      expect(answer.body).not.toContain('"services":');
    }
  });

  test("A HEAD request gets headers only", async () => {
    const gateway = await startGateway();
    for (const path of ["/health", "/nope", "/proxy/nope/"]) {
      const answer = await rawRequest(
        gateway.port,
        `HEAD ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      );
      expect(answer.body).toBe("");
      expect(answer.head).toMatch(/^content-type: application\/json/im);
    }
  });
});

test("An error anywhere in an exchange ends only that exchange, and its cause is in the log but not in the response", async () => {
  const gateway = await startGateway();
  const { now } = performance;
  try {
    // Every part of an exchange reads the clock. The nth reading throws.
    for (let nth = 1; nth <= 8; nth++) {
      let readings = 0;
      performance.now = () => {
        // Readings for a client's new connection, and for an upstream connection that is free again, belong to no exchange.
        if (/perimeter\/connections|transport\/connection/.test(new Error().stack ?? "")) return now.call(performance);
        readings++;
        if (readings === nth) throw new Error("a private cause");
        return now.call(performance);
      };
      const answer = await rawRequest(
        gateway.port,
        "GET /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
      );
      performance.now = now;
      expect(answer.end).not.toBe("open");
      expect(answer.text).not.toContain("private cause");
      expect((await fetch(`${gateway.url}/proxy/echo/`)).status).toBe(200);
    }
  } finally {
    performance.now = now;
  }
  expect(gateway.logText()).toContain("private cause");
});
