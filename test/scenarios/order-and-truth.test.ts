/** Responses on one connection keep their order, reach a client that is still sending, and the log says who ended an exchange. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const CHUNKED = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
const statuses = (text: string) => text.match(/(?<=HTTP\/1\.[01] )\d{3}/g)?.map(Number) ?? [];
const outcomes = (gateway: TestGateway) =>
  gateway.exchanges().map(({ path, status, outcome }) => `${path} ${status} ${outcome}`);

describe("a pipelined request that is malformed", () => {
  async function start() {
    const upstream = await startUpstream((req, res) => {
      req.resume();
      setTimeout(() => res.end("done"), 60);
    });
    return { upstream, gateway: await startGateway({ services: { api: { baseUrl: upstream.url } } }) };
  }
  const first = "POST /proxy/api/first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n100$";

  test.each([
    ["a body with a bad chunk on the control plane", `POST /health HTTP/1.1\r\n${CHUNKED}zz\r\n`, 400],
    ["a body with a bad chunk on the data plane", `POST /proxy/api/second HTTP/1.1\r\n${CHUNKED}2\r\nabXX`, 400],
    ["malformed trailers", `POST /proxy/api/second HTTP/1.1\r\n${CHUNKED}0\r\nbad trailer\r\n\r\n`, 400],
    ["a head that is too large", `GET /health HTTP/1.1\r\nX: ${"a".repeat(20_000)}\r\n\r\n`, 431],
    ["no HTTP at all", "\x16\x03\x01\x02\r\n\r\n", 400],
  ])("A pipelined request with %s is refused after the response before it", async (_, second, status) => {
    const { upstream, gateway } = await start();
    const { text, end } = await rawRequest(gateway.port, first + second);
    expect([statuses(text), end]).toEqual([[200, status], "fin"]);
    expect(upstream.requests.map(({ url }) => url)).toEqual(["/first"]);
    expect(outcomes(gateway)[0]).toBe("/proxy/api/first 200 relayed");
  });

  test("A malformed body is refused after all pipelined responses before it", async () => {
    const { gateway } = await start();
    const { text } = await rawRequest(gateway.port, `${first}${first}POST /health HTTP/1.1\r\n${CHUNKED}zz\r\n`);
    expect(statuses(text)).toEqual([200, 200, 400]);
  });

  test("A client that ends its side inside a second request still gets the response to the first", async () => {
    const { gateway } = await start();
    const client = await openSocket(gateway.port);
    client.end(`${first}POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc`);
    await eventually(() => client.closed);
    expect(statuses(client.received)[0]).toBe(200);
  });

  test("A WebSocket handshake behind a request that has no response yet is refused after that response", async () => {
    const upstream = await startUpstream((_, res) => setTimeout(() => res.end("slow"), 60));
    const echo = await startWebSocketEcho();
    const gateway = await startGateway({
      services: { api: { baseUrl: upstream.url }, ws: { baseUrl: echo.url, ws: true } },
    });
    const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    const handshake = `GET /proxy/ws/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${key}\r\n`;
    const get = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const { text, end } = await rawRequest(gateway.port, get + handshake + get);
    expect([statuses(text), end]).toEqual([[200, 400], "fin"]);
    expect(text).toContain("WebSocket handshake must not be sent before");
    expect(echo.requests).toEqual([]);
    const alone = await rawRequest(gateway.port, handshake, { until: "\r\n\r\n" });
    expect(alone.status).toBe(101);
  });
});

describe("a malformed body", () => {
  test.each([
    ["POST", "2\r\nab\r\nzz\r\n"],
    ["PUT", "zz\r\nhi\r\n0\r\n\r\n"],
    ["POST", "2\r\nabXX0\r\n\r\n"],
    ["PATCH", "2\r\nab\r\n0\r\nbad trailer\r\n\r\n"],
    ["DELETE", "2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n"],
  ])(
    "A %s with the chunked body %j gets 400 while no response has begun, and is logged as refused",
    async (method, body) => {
      const upstream = await startRawUpstream(() => {});
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      const { status, text, end } = await rawRequest(
        gateway.port,
        `${method} /proxy/api/x HTTP/1.1\r\n${CHUNKED}${body}`,
      );
      expect([status, end]).toEqual([400, "fin"]);
      expect(JSON.parse(text.split("\r\n\r\n")[1] as string)).toMatchObject({
        code: "INVALID_REQUEST",
        service: "api",
      });
      await eventually(() => upstream.sockets.size === 0);
      expect(upstream.received.every((received) => !received.endsWith("0\r\n\r\n"))).toBe(true);
      expect(outcomes(gateway)).toEqual(["/proxy/api/x 400 refused:INVALID_REQUEST"]);
      const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
      expect(metrics).not.toContain("client-left");
    },
  );

  test("A body that becomes malformed after 100 Continue gets 400", async () => {
    const upstream = await startRawUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(`POST /proxy/api/x HTTP/1.1\r\nExpect: 100-continue\r\n${CHUNKED}`);
    await eventually(() => client.received.includes("100 Continue"));
    client.write("zz\r\n");
    await eventually(() => client.closed);
    expect(statuses(client.received)).toEqual([100, 400]);
  });

  test("A body that becomes malformed while it waits for a connection gets 400 and is never sent", async () => {
    const upstream = await startRawUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxConnections: 1 } } });
    const busy = await openSocket(gateway.port);
    busy.write("GET /proxy/api/busy HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => upstream.received.length === 1);
    const { status } = await rawRequest(gateway.port, `POST /proxy/api/x HTTP/1.1\r\n${CHUNKED}zz\r\n`);
    expect([status, upstream.received.length]).toEqual([400, 1]);
  });

  test("A body that becomes malformed inside the response cuts the response off, and the log says so", async () => {
    const upstream = await startRawUpstream((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(`POST /proxy/api/x HTTP/1.1\r\n${CHUNKED}2\r\nab\r\n`);
    await eventually(() => client.received.includes("begun"));
    client.write("zz\r\n");
    await eventually(() => client.closed);
    expect(statuses(client.received)).toEqual([200]);
    await eventually(() => gateway.exchanges().length > 0);
    expect(outcomes(gateway)).toEqual(["/proxy/api/x 200 failed:INVALID_REQUEST"]);
  });

  test("A client that ends its side inside its body has left", async () => {
    const upstream = await startRawUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.end(`POST /proxy/api/x HTTP/1.1\r\n${CHUNKED}2\r\nab\r\n`);
    await eventually(() => gateway.exchanges().length > 0);
    expect(outcomes(gateway)).toEqual(["/proxy/api/x 499 client-left"]);
  });
});

describe("a gateway that ends", () => {
  test("A request, a response and a WebSocket that the gateway cuts at its end are failures of the gateway, not of their clients", async () => {
    const upstream = await startUpstream((req, res) => {
      if (req.url === "/begun") res.write("begun");
    });
    const silent = await startRawUpstream((socket, received) => {
      if (!received.endsWith("\r\n\r\n")) return;
      const key = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
      socket.write(
        `HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${key}\r\n\r\n\x81\x7e`,
      );
    });
    const services = { api: { baseUrl: upstream.url }, ws: { baseUrl: silent.url, ws: true } };
    const gateway = await startGateway({ services });
    const clients: Awaited<ReturnType<typeof openSocket>>[] = [];
    const ws =
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for (const [path, lines] of [
      ["/proxy/api/waiting", ""],
      ["/proxy/api/begun", ""],
      ["/proxy/ws/open", ws],
    ]) {
      const client = await openSocket(gateway.port);
      client.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n`);
      clients.push(client);
    }
    await eventually(() => upstream.requests.length === 2 && clients[2]?.received.includes(" 101 ") === true);
    const left = await openSocket(gateway.port);
    left.write("GET /proxy/api/left HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => upstream.requests.length === 3);
    left.destroy();
    await eventually(() => gateway.exchanges().length === 1);
    expect(await gateway.drain(0, 100)).toBe(3);
    expect(outcomes(gateway).sort()).toEqual([
      "/proxy/api/begun 200 failed:SHUTTING_DOWN",
      "/proxy/api/left 499 client-left",
      "/proxy/api/waiting 503 failed:SHUTTING_DOWN",
      "/proxy/ws/open 101 failed:SHUTTING_DOWN",
    ]);
  });
});

/** Longer than a short wait of the gateway before it closes a connection: the client uploads for this long. */
const CHUNKS = 14;
const CHUNK_MS = 200;

test("A client that uploads slowly and reads last receives every refusal, of the gateway and of the upstream", async () => {
  const upstream = await startRawUpstream((socket) => {
    if (socket.writable) socket.end("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!");
  });
  const large = await startUpstream((req, res) => {
    req.resume();
    res.writeHead(413, { "content-length": 3_000_000 }).end("x".repeat(3_000_000));
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: {
      api: { baseUrl: upstream.url },
      small: { baseUrl: upstream.url, maxBodyBytes: 10 },
      large: { baseUrl: large.url },
    },
  });
  async function upload(path: string, key: string, more = ""): Promise<string> {
    const client = await openSocket(gateway.port);
    client.pause();
    let failed = "";
    client.on("error", ({ message }) => {
      failed = message;
    });
    client.write(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${key}\r\n${more}Content-Length: 1400000\r\n\r\n`,
    );
    for (let i = 0; i < CHUNKS; i++) {
      client.write(Buffer.alloc(100_000, "a"));
      await sleep(CHUNK_MS);
    }
    client.resume();
    await eventually(() => client.closed || /(?:no!|x{1000}|\})$/.test(client.received));
    return `${path} ${failed}${statuses(client.received)}`;
  }
  const answers = await Promise.all([
    upload("/proxy/api/wrong-key", "wrong-key-0123456789"),
    upload("/proxy/small/too-large", PROXY_KEY),
    upload("/proxy/api/early", PROXY_KEY),
    upload("/proxy/large/early", PROXY_KEY),
    upload("/proxy/api/expects", PROXY_KEY, "Expect: miracles\r\n"),
    upload("/proxy/api/framing", PROXY_KEY, "Transfer-Encoding: x\r\n"),
    upload("/nowhere", PROXY_KEY),
    upload("/manage/services", PROXY_KEY),
  ]);
  expect(answers).toEqual([
    "/proxy/api/wrong-key 401",
    "/proxy/small/too-large 413",
    "/proxy/api/early 413",
    "/proxy/large/early 413",
    "/proxy/api/expects 417",
    "/proxy/api/framing 400",
    "/nowhere 404",
    "/manage/services 415",
  ]);
});
