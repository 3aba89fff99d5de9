/** Faults of WebSockets, compared byte by byte. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const HANDSHAKE = [
  "GET /proxy/api/chat HTTP/1.1",
  "Host: localhost",
  `x-api-key: ${PROXY_KEY}`,
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const handshake = (...lines: string[]) => `${[...HANDSHAKE, ...lines].join("\r\n")}\r\n\r\n`;
const ACCEPT =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

async function start(onData: (socket: Socket, received: string) => void, service: Record<string, unknown> = {}) {
  const upstream = await startRawUpstream(onData);
  // With a key, because the gateway refuses HTTP/1.0 without one.
  const env = { PROXY_API_KEY: PROXY_KEY };
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, ws: true, ...service } } });
  return { upstream, gateway };
}

describe("upstream that refuses a WebSocket", () => {
  test("An upstream's refusal is relayed with status, headers and body, and the client's connection ends", async () => {
    const { gateway } = await start(
      respondWith("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nX-Why: no\r\nX-Proxy-Error: FORGED\r\n\r\nno way"),
    );
    const response = await rawRequest(gateway.port, handshake());
    expect([response.status, response.body, response.end]).toEqual([403, "no way", "fin"]);
    expect(response.head).toMatch(/^x-why: no\r$/im);
    expect(response.head).toMatch(/^connection: close\r?$/im);
    expect(response.head).toMatch(/^x-proxy-service: api\r$/im);
    expect(response.head).not.toContain("FORGED");
    await eventually(() => gateway.exchanges().some(({ outcome, status }) => outcome === "relayed" && status === 403));
  });

  test("An upstream's chunked refusal with a redirect to itself leads to the gateway", async () => {
    const { upstream, gateway } = await start((socket) => {
      socket.write(
        `HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${socket.localPort}/else\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      );
    });
    const response = await rawRequest(gateway.port, handshake());
    expect(response.head).toContain("location: http://localhost/proxy/api/else");
    expect(response.body).toBe("3\r\nabc\r\n0\r\n\r\n");
    expect(upstream.received).toHaveLength(1);
  });

  test("A refusal with a long body is relayed completely, as fast as the client reads", async () => {
    const body = "no. ".repeat(100_000);
    const { gateway } = await start(
      respondWith(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
    );
    const response = await rawRequest(gateway.port, handshake());
    expect([response.status, response.end]).toEqual([403, "fin"]);
    expect(response.body === body).toBe(true);
  });

  test("A refusal with an endless body is cut at a bound, whether the client reads or not", async () => {
    const chunk = Buffer.alloc(65_536, 97);
    const { upstream, gateway } = await start(
      (socket) => {
        socket.write("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n");
        const pump = () => {
          while (!socket.destroyed && socket.write(`10000\r\n${chunk}\r\n`));
        };
        socket.on("drain", pump);
        pump();
      },
      { timeoutMs: 1_500 },
    );
    const reader = await rawRequest(gateway.port, handshake());
    expect(reader.end).not.toBe("open");
    expect(reader.text.length).toBeLessThan(2 * 1024 * 1024);
    expect(reader.text).not.toMatch(/\r\n0\r\n\r\n$/);
    await eventually(() => upstream.sockets.size === 0);

    const silent = await openSocket(gateway.port);
    silent.pause();
    silent.write(handshake());
    await eventually(() => gateway.exchanges().length === 2, "the exchange to end", 6_000);
    await eventually(() => upstream.sockets.size === 0);
  });

  test.each([
    ["end", "UPSTREAM_PROTOCOL_ERROR"],
    ["reset", "UPSTREAM_UNREACHABLE"],
  ] as const)(
    "A refusal is cut for the client, not ended, if the upstream's connection closes during it (%s)",
    async (how, code) => {
      const { gateway } = await start((socket) => {
        socket.write("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", () => {
          if (how === "end") socket.end();
          else setTimeout(() => socket.resetAndDestroy(), 20);
        });
      });
      const response = await rawRequest(gateway.port, handshake());
      expect(response.end).not.toBe("open");
      expect(response.text).not.toContain("0\r\n\r\n");
      await eventually(() => gateway.exchanges()[0]?.outcome === `failed:${code}`);
    },
  );

  test("Bytes that the client sends after its handshake do not reach an upstream that refused it", async () => {
    const { upstream, gateway } = await start(respondWith("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
    const smuggled = "GET /proxy/api/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const response = await rawRequest(gateway.port, handshake() + smuggled);
    expect([response.status, response.body, response.end]).toEqual([403, "no", "fin"]);
    expect(upstream.received.join()).not.toContain("smuggled");
  });
});

describe("upstream that fails a handshake", () => {
  test("An upstream that sends no response to a handshake is 504 within timeoutMs", async () => {
    const { upstream, gateway } = await start(() => {}, { timeoutMs: 200 });
    const response = await rawRequest(gateway.port, handshake());
    expect([response.status, response.end]).toEqual([504, "fin"]);
    expect(JSON.parse(response.body)).toMatchObject({
      code: "UPSTREAM_TIMEOUT",
      message: expect.stringContaining("timeoutMs or NETWORK_TIMEOUT"),
    });
    await eventually(() => upstream.sockets.size === 0);
  });

  test.each([
    ["closes the connection", "", "end", "UPSTREAM_UNREACHABLE"],
    ["resets the connection", "HTTP/1.1 ", "reset", "UPSTREAM_UNREACHABLE"],
    ["sends garbage", "220 smtp.example ESMTP\r\n\r\n", "keep", "UPSTREAM_PROTOCOL_ERROR"],
    [
      "switches to another protocol",
      "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
      "keep",
      "UPSTREAM_PROTOCOL_ERROR",
    ],
    ["switches without naming the protocol", "HTTP/1.1 101 X\r\n\r\n", "keep", "UPSTREAM_PROTOCOL_ERROR"],
    [
      "sends two lengths",
      "HTTP/1.1 403 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "keep",
      "UPSTREAM_PROTOCOL_ERROR",
    ],
    ["sends an invalid status", "HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", "keep", "UPSTREAM_PROTOCOL_ERROR"],
  ] as const)("An upstream that %s during the handshake is 502", async (_, bytes, then, code) => {
    const { upstream, gateway } = await start(respondWith(bytes, then));
    const response = await rawRequest(gateway.port, handshake());
    expect([response.status, response.end]).toEqual([502, "fin"]);
    expect(JSON.parse(response.body)).toMatchObject({ code, service: "api" });
    expect(response.body).not.toContain(String(upstream.port));
    await eventually(() => upstream.sockets.size === 0);
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
  });

  test("A handshake with a port without a listener, or with an untrusted certificate, is 502 with the phase", async () => {
    const pem = (name: string) => readFileSync(join(import.meta.dirname, "../support/tls", name));
    const tls = createTlsServer({ key: pem("self-signed-key.pem"), cert: pem("self-signed.pem") });
    const { port } = await startUpstream(undefined, tls as never);
    const gateway = await startGateway({
      services: {
        dead: { baseUrl: "http://127.0.0.1:9/", ws: true },
        tls: { baseUrl: `https://127.0.0.1:${port}/`, ws: true },
      },
    });
    const sendRequest = async (service: string) =>
      JSON.parse((await rawRequest(gateway.port, handshake().replace("/api/", `/${service}/`))).body);
    expect(await sendRequest("dead")).toMatchObject({
      code: "UPSTREAM_UNREACHABLE",
      message: expect.stringContaining("(connect)"),
    });
    expect(await sendRequest("tls")).toMatchObject({
      code: "UPSTREAM_TLS_ERROR",
      message: expect.stringContaining("self-signed"),
    });
  });
});

describe("WebSocket over TLS", () => {
  test("A WebSocket over TLS uses the authority, the client certificate and the server name of its service", async () => {
    const path = (name: string) => join(import.meta.dirname, "../support/tls", name);
    const pem = (name: string) => readFileSync(path(name));
    const names: unknown[] = [];
    const tls = createTlsServer({
      key: pem("localhost-key.pem"),
      cert: pem("localhost.pem"),
      ca: pem("ca.pem"),
      requestCert: true,
      rejectUnauthorized: true,
    });
    tls.on("secureConnection", (socket) => names.push(socket.servername));
    const server = new WebSocketServer({ server: tls });
    server.on("connection", (socket) => socket.on("message", (data) => socket.send(`tls ${data}`)));
    const { port } = await startUpstream(undefined, tls as never);
    const own = {
      caFile: path("ca.pem"),
      certFile: path("other.pem"),
      keyFile: path("other-key.pem"),
      servername: "localhost",
    };
    const gateway = await startGateway({
      services: { api: { baseUrl: `https://127.0.0.1:${port}/`, ws: true, tls: own } },
    });
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/`);
    await once(socket, "open");
    socket.send("hello");
    expect(String(((await once(socket, "message")) as [Buffer])[0])).toBe("tls hello");
    expect(names).toEqual(["localhost"]);
    socket.terminate();
  });
});

describe("end of one side", () => {
  const accepting = (socket: Socket, received: string) => {
    if (received.endsWith("\r\n\r\n")) socket.write(ACCEPT);
  };

  test.each(["destroy", "resetAndDestroy", "end"] as const)(
    "When the client leaves (%s), the upstream's connection is closed",
    async (how) => {
      const { upstream, gateway } = await start(accepting);
      const client = await openSocket(gateway.port);
      client.write(handshake());
      await eventually(() => client.received.includes("101"));
      client[how]();
      await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close", 2_500);
      await eventually(() => gateway.exchanges()[0]?.status === 101);
    },
  );

  test.each(["destroy", "resetAndDestroy", "end"] as const)(
    "When the upstream leaves (%s), the client's connection is closed",
    async (how) => {
      const { upstream, gateway } = await start(accepting);
      const client = await openSocket(gateway.port);
      client.write(handshake());
      await eventually(() => client.received.includes("101"));
      for (const socket of upstream.sockets) socket[how]();
      await eventually(() => client.closed, "the client's socket to close", 2_500);
      await eventually(() => gateway.exchanges()[0]?.status === 101);
    },
  );

  test.each(["destroy", "resetAndDestroy", "end"] as const)(
    "When the client leaves during the handshake (%s), the upstream's connection is closed and no failure is counted",
    async (how) => {
      const { upstream, gateway } = await start(() => {});
      const client = await openSocket(gateway.port);
      client.write(handshake());
      await eventually(() => upstream.received.length === 1);
      client[how]();
      await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close", 1_000);
      await eventually(() => gateway.exchanges()[0]?.outcome === "client-left");
      expect(gateway.exchanges()[0]?.status).toBe(499);
    },
  );

  test("When the upstream closes after a long message, a client that reads slowly receives all of it", async () => {
    const size = 4_000_000;
    const { gateway } = await start((socket, received) => {
      if (received.endsWith("\r\n\r\n")) socket.end(ACCEPT + "x".repeat(size));
    });
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.includes("101"));
    for (let i = 0; i < 5; i++) {
      client.pause();
      await new Promise((resolve) => setTimeout(resolve, 50));
      client.resume();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await eventually(() => client.closed);
    expect(client.received.length - client.received.indexOf("\r\n\r\n") - 4).toBe(size);
  });

  test("When both sides are silent for idleTimeoutMs both are closed; without idleTimeoutMs they stay open", async () => {
    const { upstream, gateway } = await start(accepting, { idleTimeoutMs: 150 });
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.includes("101"));
    // A close frame with 1001, between two frames.
    await eventually(() => client.received.endsWith("\x88\x02\x03\xe9"));
    client.end();
    await eventually(() => upstream.sockets.size === 0 && client.closed);
  });
});

describe("bytes of a handshake", () => {
  test("Bytes that the client sends early reach the upstream after it has accepted the handshake", async () => {
    const { upstream, gateway } = await start((socket, received) => {
      if (received.endsWith("\r\n\r\n")) setTimeout(() => socket.write(ACCEPT), 50);
    });
    const client = await openSocket(gateway.port);
    client.write(`${handshake()}early`);
    await eventually(() => upstream.received.length === 1);
    client.write(" bytes");
    await eventually(() => upstream.received[0]?.endsWith("\r\n\r\nearly bytes"));
  });

  test("A handshake with Content-Length: 0, as Java's client sends it, is accepted", async () => {
    const { upstream, gateway } = await start(respondWith(ACCEPT));
    const client = await openSocket(gateway.port);
    client.write(`${handshake("Content-Length: 0")}early bytes`);
    await eventually(
      () => client.received.startsWith("HTTP/1.1 101 ") && upstream.received[0]?.endsWith("early bytes"),
    );
    expect(upstream.received[0]).toMatch(/^upgrade: websocket\r$/im);
    expect(upstream.received[0]).not.toMatch(/^content-length:/im);
  });

  test.each([
    ["Content-Length", handshake("Content-Length: 5"), 400],
    ["Content-Length: 00", handshake("Content-Length: 00"), 400],
    ["Content-Length and Transfer-Encoding", handshake("Content-Length: 0", "Transfer-Encoding: chunked"), 400],
    ["Transfer-Encoding", handshake("Transfer-Encoding: chunked"), 400],
    ["the method POST", handshake().replace("GET", "POST"), 400],
    ["two hosts", handshake("Host: other"), 400],
    ["the method TRACE", handshake().replace("GET", "TRACE"), 405],
  ])("A handshake with %s is refused, and nothing is sent", async (_, bytes, status) => {
    const { upstream, gateway } = await start(() => {});
    const response = await rawRequest(gateway.port, `${bytes}hello`);
    expect([response.status, response.end]).toEqual([status, "fin"]);
    expect(JSON.parse(response.body)).toMatchObject({ status });
    expect(upstream.received).toEqual([]);
  });

  test.each([
    ["of HTTP/1.0", handshake().replace("HTTP/1.1", "HTTP/1.0")],
    ["without Connection: upgrade", handshake().replace("Connection: Upgrade", "Connection: close")],
    ["with Upgrade: h2c", handshake().replace("Upgrade: websocket", "Upgrade: h2c")],
    ["with several protocols in Upgrade", handshake().replace("Upgrade: websocket", "Upgrade: websocket, h2c")],
  ])("A request %s is served without an upgrade", async (_, bytes) => {
    const { upstream, gateway } = await start(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    const response = await rawRequest(gateway.port, bytes);
    expect([response.status, response.body, response.end]).toEqual([200, "ok", "fin"]);
    expect(upstream.received[0]).not.toMatch(/^upgrade:/im);
  });

  test("A handshake that follows an unfinished request ends the connection and does not reach the upstream", async () => {
    const { upstream, gateway } = await start(() => {});
    const get = `GET /proxy/api/slow HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
    const response = await rawRequest(gateway.port, get + handshake());
    expect(response.text).toBe("");
    expect(response.end).not.toBe("open");
    expect(upstream.received.join()).not.toMatch(/upgrade/i);
  });
});

describe("back-pressure", () => {
  test("An upstream is slowed down when the client does not read", async () => {
    const echo = await startWebSocketEcho();
    let sent = 0;
    const chunk = Buffer.alloc(1024 * 1024, 7);
    echo.server.on("connection", (socket) => {
      const pump = () => {
        if (socket.readyState !== socket.OPEN || socket.bufferedAmount > 4 * chunk.length) return;
        socket.send(chunk, () => pump());
        sent += chunk.length;
      };
      pump();
    });
    const gateway = await startGateway({ services: { api: { baseUrl: echo.url, ws: true } } });
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.includes("101"));
    client.pause();
    let before = -1;
    await eventually(async () => {
      const isStill = sent === before;
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return isStill;
    });
    // The sender has sent what fits into the kernel's buffers and two high-water marks, not everything.
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    client.destroy();
  });

  test("A client is slowed down when the upstream does not read", async () => {
    const { gateway } = await start((socket) => {
      socket.write(ACCEPT);
      socket.pause();
    });
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.includes("101"));
    const limit = 64 * 1024 * 1024;
    const chunk = Buffer.alloc(1024 * 1024, 7);
    // One long binary frame.
    client.write(Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]));
    const pump = () => {
      if (!client.destroyed && client.bytesWritten < limit) client.write(chunk, pump);
    };
    pump();
    let before = -1;
    const bytesSent = () => client.bytesWritten - client.writableLength;
    await eventually(async () => {
      const isStill = bytesSent() === before;
      before = bytesSent();
      await new Promise((resolve) => setTimeout(resolve, 50));
      return isStill;
    });
    expect(bytesSent()).toBeLessThan(limit / 2);
  });
});
