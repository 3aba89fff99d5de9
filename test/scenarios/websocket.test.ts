/** WebSockets through the gateway, with correct clients and servers. */

import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

async function start(env: Record<string, string> = {}, service: Record<string, unknown> = {}) {
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, API_TOKEN: "the-upstream-token-0123", ...env },
    services: {
      api: { baseUrl: `${echo.url}/base/`, ws: true, auth: { type: "bearer", tokenEnvVar: "API_TOKEN" }, ...service },
      plain: { baseUrl: echo.url },
    },
  });
  const connect = (
    path = "/proxy/api/chat",
    headers: Record<string, string> = { "x-api-key": PROXY_KEY },
    protocols: string[] = [],
  ) => {
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}${path}`, protocols, { headers });
    onTestFinished(() => socket.terminate());
    return socket;
  };
  return { echo, gateway, connect };
}

/** Returns the status and the JSON body of a refused handshake. */
function refusalOf(socket: WebSocket): Promise<{ status: number; headers: IncomingMessage["headers"]; body: string }> {
  return new Promise((resolve, reject) => {
    socket.on("open", () => reject(new Error("it opened")));
    socket.on("error", () => {});
    socket.on("unexpected-response", (_, response) => {
      let body = "";
      response.on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode as number, headers: response.headers, body }));
    });
  });
}

describe("WebSocket", () => {
  test("A WebSocket carries text, binary and 1 MB in both directions, with and without compression", async () => {
    const { connect } = await start();
    const socket = connect();
    await once(socket, "open");
    const big = Buffer.alloc(1_000_000, "abcdefg");
    for (const message of ["hello", "", "ünïcödé", big]) {
      socket.send(message);
      const [data, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
      expect(Buffer.compare(data, Buffer.from(message))).toBe(0);
      expect(isBinary).toBe(typeof message !== "string");
    }
    socket.close(4001, "done");
    expect(((await once(socket, "close")) as [number])[0]).toBe(4001);
  });

  test("A handshake reaches the joined path with the injected credential and without the caller's key", async () => {
    const { echo, gateway, connect } = await start();
    const socket = connect(
      `/proxy/api/a%2Fb//c?x=%20&api_key=${PROXY_KEY}&y=[1]`,
      {
        "x-api-key": PROXY_KEY,
        authorization: `Bearer ${PROXY_KEY}`,
        cookie: "session=1",
        origin: "https://app.example",
        "x-forwarded-for": "9.9.9.9",
        X_Api_Key: PROXY_KEY,
      },
      ["v1", "v2"],
    );
    await once(socket, "open");
    const [request] = echo.requests as [IncomingMessage];
    expect(request.url).toBe("/base/a%2Fb//c?x=%20&y=[1]");
    expect(request.headers).toMatchObject({
      host: new URL(echo.url).host,
      authorization: "Bearer the-upstream-token-0123",
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-protocol": "v1,v2",
      "x-request-id": expect.any(String),
      traceparent: expect.any(String),
      via: expect.stringMatching(/^1\.1 byteproxy-/),
    });
    for (const name of ["cookie", "origin", "x-forwarded-for", "x-api-key", "x_api_key"]) {
      expect(request.headers[name]).toBeUndefined();
    }
    expect(request.rawHeaders.join("\n")).not.toContain(PROXY_KEY);
    expect(request.rawHeaders.filter((name) => name.toLowerCase() === "authorization")).toHaveLength(1);
    socket.close();
    await once(socket, "close");
    await eventually(() => gateway.exchanges().length === 1);
    expect(gateway.logText()).not.toContain(PROXY_KEY);
  });

  test("A handshake carries the credential in the query if the service's auth says so", async () => {
    const { echo, connect } = await start(
      {},
      { auth: { type: "api-key", queryParam: "token", tokenEnvVar: "API_TOKEN" } },
    );
    const socket = connect("/proxy/api/?a=1&token=mine");
    await once(socket, "open");
    expect(echo.requests[0]?.url).toBe("/base/?a=1&token=the-upstream-token-0123");
  });

  test("The handshake's response has the gateway's headers, and none that an upstream could forge", async () => {
    const { echo, connect } = await start({}, { rateLimit: { maxRequests: 5, windowMs: 60_000 } });
    echo.server.on("headers", (headers) =>
      headers.push(
        "X-Proxy-Error: FORGED",
        "Set-Cookie: a=b",
        "Alt-Svc: h3",
        "Access-Control-Allow-Origin: *",
        "X-Own: kept",
      ),
    );
    const socket = connect();
    const [response] = (await once(socket, "upgrade")) as [IncomingMessage];
    expect(response.statusCode).toBe(101);
    expect(response.headers).toMatchObject({
      connection: "Upgrade",
      upgrade: "websocket",
      "x-own": "kept",
      "x-proxy-service": "api",
      "x-proxy-request-id": expect.any(String),
      ratelimit: expect.stringMatching(/r=4;/),
    });
    for (const name of ["x-proxy-error", "set-cookie", "alt-svc", "access-control-allow-origin"]) {
      expect(response.headers[name]).toBeUndefined();
    }
  });

  test("Headers named __proto__ and constructor pass like any other, in both directions", async () => {
    const { echo, connect } = await start();
    echo.server.on("headers", (headers) => headers.push("__proto__: x", "constructor: y"));
    const names = Object.fromEntries([["__proto__", "a"]]);
    const socket = connect("/proxy/api/chat", { ...names, constructor: "b", "x-api-key": PROXY_KEY });
    const [response] = (await once(socket, "upgrade")) as [IncomingMessage];
    const [request] = echo.requests as [IncomingMessage];
    expect(request.rawHeaders.join("\n")).toContain("__proto__\na\n");
    expect(request.headers.constructor).toBe("b");
    // node:http itself loses the other one in a response.
    expect(response.headers.constructor).toBe("y");
  });

  test("A WebSocket is one access line when it ends, with 101 and the bytes of both directions", async () => {
    const { gateway, connect } = await start();
    const socket = connect();
    await once(socket, "open");
    expect((await (await fetch(`${gateway.url}/status`)).json()) as object).toMatchObject({
      load: { webSockets: { current: 1 } },
    });
    socket.send("0123456789");
    await once(socket, "message");
    expect(gateway.exchanges()).toEqual([]);
    socket.close();
    await once(socket, "close");
    const [line] = await eventually(() => gateway.exchanges().length > 0 && gateway.exchanges());
    // Frame headers and close frames count too: 6 + 10 + 6 bytes masked, 2 + 10 + 2 not.
    expect(line).toMatchObject({ status: 101, outcome: "relayed", attempts: 1, bytesIn: 22, bytesOut: 14 });
    expect((await (await fetch(`${gateway.url}/status`)).json()) as object).toMatchObject({
      load: { webSockets: { current: 0 } },
    });
  });

  test("A handshake can select a versioned base", async () => {
    const { echo, connect } = await start();
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY },
      services: { api: { baseUrl: echo.url, versionedBaseUrls: { v9: `${echo.url}/nine` }, ws: true } },
    });
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/api/v9/x`, {
      headers: { "x-api-key": PROXY_KEY },
    });
    await once(socket, "open");
    expect(echo.requests[0]?.url).toBe("/nine/x");
    socket.terminate();
    void connect;
  });
});

describe("handshake that is not admitted", () => {
  test.each([
    ["without a key", "/proxy/api/x", {}, {}, 401, "MISSING_CREDENTIALS"],
    ["with a wrong key", "/proxy/api/x", { "x-api-key": "wrong-key-0123456789" }, {}, 401, "INVALID_API_KEY"],
    ["for an unknown service", "/proxy/nope/x", { "x-api-key": PROXY_KEY }, {}, 404, "SERVICE_NOT_CONFIGURED"],
    ["for a service without ws", "/proxy/plain/x", { "x-api-key": PROXY_KEY }, {}, 426, "UPGRADE_NOT_ALLOWED"],
    ["on a path with dot segments", "/proxy/api/..%2fx", { "x-api-key": PROXY_KEY }, {}, 400, "INVALID_PATH"],
    [
      "with a method that is not allowed",
      "/proxy/api/x",
      { "x-api-key": PROXY_KEY },
      { methods: ["POST"] },
      405,
      "METHOD_NOT_ALLOWED",
    ],
    [
      "with an expectation",
      "/proxy/api/x",
      { "x-api-key": PROXY_KEY, expect: "miracles" },
      {},
      417,
      "EXPECTATION_FAILED",
    ],
  ] as const)(
    "A handshake %s gets a status and a JSON body, and nothing is sent",
    async (_, path, headers, service, status, code) => {
      const { echo, gateway, connect } = await start({}, service);
      const refusal = await refusalOf(connect(path, headers as Record<string, string>));
      expect(refusal.status).toBe(status);
      expect(refusal.headers).toMatchObject({ "x-proxy-error": code, connection: "close" });
      expect(JSON.parse(refusal.body)).toMatchObject({ code, status });
      expect(echo.requests).toEqual([]);
      if (code !== "EXPECTATION_FAILED") {
        await eventually(() => gateway.exchanges().some(({ outcome }) => outcome === `refused:${code}`));
      }
    },
  );

  test("A handshake with a key that may only read the service is refused, and nothing is sent", async () => {
    const { echo, gateway, connect } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY });
    const grant = { name: "plain only", permissions: ["plain:*", "api:read"] };
    const { key } = (await manage(gateway, "POST", "/keys", grant)).body;
    const refusal = await refusalOf(connect("/proxy/api/x", { "x-api-key": key }));
    expect(refusal.status).toBe(403);
    expect(JSON.parse(refusal.body)).toMatchObject({ code: "INSUFFICIENT_PERMISSIONS" });
    expect(echo.requests).toEqual([]);
  });

  test("A handshake over the rate limit, over maxConcurrent or under pressure is refused in the same way", async () => {
    const limited = await start({}, { rateLimit: { maxRequests: 1, windowMs: 60_000 } });
    await once(limited.connect(), "open");
    expect(await refusalOf(limited.connect())).toMatchObject({
      status: 429,
      headers: { "retry-after": expect.any(String) },
    });

    const full = await start({}, { maxConcurrent: 1 });
    const first = full.connect();
    await once(first, "open");
    expect(JSON.parse((await refusalOf(full.connect())).body)).toMatchObject({ code: "UNDER_PRESSURE" });
    first.close();
    await once(first, "close");
    await eventually(() => full.gateway.exchanges().length === 2);
    await once(full.connect(), "open");

    const pressed = await start({ PRESSURE_MAX_RSS_BYTES: "1" });
    expect((await refusalOf(pressed.connect())).status).toBe(503);
  });

  test("A handshake without the required credential is refused before it is sent", async () => {
    const { connect } = await start({}, { auth: { type: "bearer", tokenEnvVar: "NOT_SET" } });
    expect(JSON.parse((await refusalOf(connect())).body)).toMatchObject({ code: "UPSTREAM_CREDENTIAL_MISSING" });
  });

  test("A handshake from a web page on an unprotected plane is refused, and admitted if its origin is listed", async () => {
    const { echo, gateway } = await start({ PROXY_API_KEY: "", CORS_ORIGINS: "https://app.example" });
    const from = (origin: string) => new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/api/x`, { origin });
    expect(JSON.parse((await refusalOf(from("https://evil.example"))).body)).toMatchObject({
      code: "ORIGIN_NOT_ALLOWED",
    });
    expect(echo.requests).toEqual([]);
    const listed = from("https://app.example");
    await once(listed, "open");
    listed.terminate();
  });

  test("A handshake for the control plane is served as a plain request", async () => {
    const { connect } = await start();
    expect(await refusalOf(connect("/health"))).toMatchObject({ status: 200, headers: { connection: "close" } });
  });
});
