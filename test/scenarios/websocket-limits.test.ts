/** Limits of WebSockets: their number, silence, and a side that no longer reads. */
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

const ACCEPT = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const GOING_AWAY = "\x88\x02\x03\xe9";
const handshake = (service: string) =>
  `GET /proxy/${service}/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

const accepting = (socket: Socket, received: string) => {
  if (received.endsWith("\r\n\r\n")) socket.write(received.startsWith("GET /plain") ? "" : ACCEPT);
};

async function start(
  service: Record<string, unknown> = {},
  env: Record<string, string> = {},
  onData: (socket: Socket, received: string) => void = accepting,
) {
  const upstream = await startRawUpstream(onData);
  const api = { baseUrl: upstream.url, ws: true, ...service };
  const gateway = await startGateway({ env, services: { api, other: { baseUrl: upstream.url, ws: true } } });
  const open = async (key = "api") => {
    const client = await openSocket(gateway.port);
    client.write(handshake(key));
    await eventually(() => client.received.includes(ACCEPT.slice(0, 12)));
    client.received = "";
    return client;
  };
  return { upstream, gateway, open };
}

async function explained(gateway: TestGateway, service: string): Promise<string> {
  const headers = { upgrade: "websocket", connection: "Upgrade" };
  const response = await fetch(`${gateway.url}/manage/explain`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ method: "GET", path: `/proxy/${service}/`, headers }),
  });
  const { refusal } = (await response.json()) as { refusal: { message: string } | null };
  return refusal?.message ?? "forward";
}

const numbers = async (gateway: TestGateway) => {
  const { load, services } = (await (await fetch(`${gateway.url}/status`)).json()) as {
    load: { webSockets: { current: number; limit: number | null } };
    services: { key: string; webSockets: unknown }[];
  };
  const api = services.find(({ key }) => key === "api")?.webSockets;
  return { all: load.webSockets, open: load.webSockets.current, api };
};

describe("number of WebSockets", () => {
  test.each([
    ["maxWebSockets", { maxWebSockets: 1 }, {}, "api", "webSocketsOfService"],
    ["MAX_WEBSOCKETS", {}, { MAX_WEBSOCKETS: "1" }, "other", "webSockets"],
  ] as const)(
    "A handshake beyond %s is refused with 503 and nothing is sent; requests are still served",
    async (...row) => {
      const [setting, service, env, second, gauge] = row;
      const { upstream, gateway, open } = await start(service, env);
      expect(await explained(gateway, second)).toBe("forward");
      const first = await open();
      const { status, head, body, end } = await rawRequest(gateway.port, handshake(second));
      expect([status, end]).toEqual([503, "fin"]);
      expect(head).toMatch(/^retry-after: \d+$/im);
      const words = gauge === "webSockets" ? "WebSocket open; " : "WebSocket to api open; its ";
      const message = `1 ${words}${setting} is 1.`;
      expect(JSON.parse(body)).toMatchObject({
        code: "UNDER_PRESSURE",
        message,
        pressure: { gauge, value: 1, limit: 1 },
      });
      expect(await explained(gateway, second)).toBe(message);
      expect(upstream.received).toHaveLength(1);
      const plain = await openSocket(gateway.port);
      plain.write(`GET /proxy/${second}/plain HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await eventually(() => upstream.received.some((text) => text.startsWith("GET /plain")));
      const isTotal = gauge === "webSockets";
      const api = { current: 1, limit: isTotal ? null : 1 };
      expect(await numbers(gateway)).toEqual({ all: { current: 1, limit: isTotal ? 1 : null }, open: 1, api });

      first.destroy();
      await eventually(async () => (await explained(gateway, second)) === "forward");
      await open(second);
    },
  );

  test("A handshake in progress holds its slot until it fails or its client leaves", async () => {
    const { upstream, gateway } = await start({ maxWebSockets: 1, timeoutMs: 300 }, {}, () => {});
    const leaving = await openSocket(gateway.port);
    leaving.write(handshake("api"));
    await eventually(() => upstream.received.length === 1);
    expect((await rawRequest(gateway.port, handshake("api"))).status).toBe(503);
    leaving.destroy();
    await eventually(async () => (await explained(gateway, "api")) === "forward");
    expect((await rawRequest(gateway.port, handshake("api"))).status).toBe(504);
    expect(await explained(gateway, "api")).toBe("forward");
  });
});

describe("WebSocket that is silent for idleTimeoutMs", () => {
  test("A silent WebSocket ends within seconds, with or without a response to the close frame, and also inside a frame", async () => {
    const { upstream, gateway, open } = await start({ idleTimeoutMs: 100 }, {}, (socket, received) => {
      accepting(socket, received);
      // The first two bytes of a frame of ten.
      if (received.endsWith("half")) socket.write(Buffer.from([0x82, 10, 1]));
    });
    const [silent, inside] = [await open(), await open()];
    inside.write("half");
    await eventually(() => inside.received.length === 3);
    await eventually(() => silent.received === GOING_AWAY);
    await eventually(() => silent.closed && inside.closed, "both clients to be closed", 2_900);
    await eventually(() => upstream.sockets.size === 0);
    expect(inside.received).toBe("\x82\x0a\x01");
    await eventually(async () => (await numbers(gateway)).open === 0);
  });
});

describe("SEND_TIMEOUT", () => {
  const env = { SEND_TIMEOUT: "300" };
  const chunk = Buffer.alloc(65_536, 1);
  const pump = (socket: Socket) => {
    const write = () => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on("drain", write);
    write();
  };

  test("SEND_TIMEOUT ends a WebSocket on both sides if its client does not read", async () => {
    const { upstream, gateway, open } = await start({}, env, (socket, received) => {
      accepting(socket, received);
      if (received.endsWith("go")) pump(socket);
    });
    const client = await open();
    client.pause();
    client.write("go");
    await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close");
    await eventually(async () => (await numbers(gateway)).open === 0);
    await eventually(() => gateway.exchanges()[0]?.status === 101);
  });

  test("SEND_TIMEOUT ends a WebSocket on both sides if its upstream does not read", async () => {
    const { gateway, open } = await start({}, env, (socket, received) => {
      accepting(socket, received);
      socket.pause();
    });
    const client = await open();
    pump(client);
    await eventually(() => client.closed, "the client's socket to close");
    await eventually(async () => (await numbers(gateway)).open === 0);
  });

  test("SEND_TIMEOUT does not end a WebSocket without data to send", async () => {
    const { gateway, open } = await start({}, { SEND_TIMEOUT: "30" });
    const client = await open();
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(client.closed).toBe(false);
    expect((await numbers(gateway)).open).toBe(1);
  });
});
