/** MAX_CONNECTIONS_PER_ADDRESS: a client with too many connections keeps no other client out, and learns why. */
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { addressKey } from "../../src/limits/address-key.ts";
import { AddressCounts } from "../../src/perimeter/connections.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const get = (path: string, ...lines: string[]) =>
  `${[`GET ${path} HTTP/1.1`, "Host: localhost", ...lines].join("\r\n")}\r\n\r\n`;
const HANDSHAKE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="];

type Client = Socket & { received: string };

async function start(env: Record<string, string> = {}) {
  const upstream = await startUpstream();
  const gateway = await startGateway({
    env: { MAX_CONNECTIONS_PER_ADDRESS: "2", ...env },
    services: { api: { baseUrl: upstream.url, ws: true } },
  });
  const from = async (address: string): Promise<Client> => {
    const client = Object.assign(connect({ port: gateway.port, host: "127.0.0.1", localAddress: address }), {
      received: "",
    });
    client.on("error", () => {});
    client.on("data", (chunk) => {
      client.received += chunk.toString("latin1");
    });
    onTestFinished(() => {
      client.destroy();
    });
    await new Promise((resolve) => client.once("connect", resolve));
    return client;
  };
  const ask = async (client: Client, ...requests: string[]) => {
    client.write(requests.join(""));
    await eventually(() => client.closed || client.received.includes("\r\n\r\n"));
    return client;
  };
  return { upstream, gateway, from, ask };
}

test("A connection over the limit may send one request and learns which limit it is; other addresses are not affected", async () => {
  const { upstream, gateway, from, ask } = await start();
  const [first, second] = [await from("127.0.0.1"), await from("127.0.0.1")];
  const third = await ask(await from("127.0.0.1"), get("/proxy/api/"), get("/proxy/api/second"));
  await eventually(() => third.closed);
  expect(third.received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(third.received).toMatch(/^HTTP\/1\.1 503 /);
  expect(third.received).toMatch(/^connection: close$/im);
  expect(third.received).toMatch(/^retry-after: \d+$/im);
  expect(JSON.parse(third.received.slice(third.received.indexOf("\r\n\r\n")))).toMatchObject({
    code: "UNDER_PRESSURE",
    message: "3 connections of 127.0.0.1 are open; MAX_CONNECTIONS_PER_ADDRESS is 2.",
    pressure: { gauge: "connectionsOfAddress", value: 3, limit: 2 },
  });
  expect(upstream.requests).toEqual([]);

  const health = await ask(await from("127.0.0.1"), get("/health"), get("/health"));
  await eventually(() => health.closed);
  expect(health.received.match(/HTTP\/1\.1 200 /g)).toHaveLength(1);

  for (const address of ["127.0.0.2", "127.0.0.3", "127.0.0.4"]) {
    for (const client of [await from(address), await from(address)]) {
      expect((await ask(client, get("/proxy/api/"))).received).toMatch(/^HTTP\/1\.1 200 /);
    }
  }
  expect((await ask(first as Client, get("/proxy/api/"))).received).toMatch(/^HTTP\/1\.1 200 /);
  second?.destroy();
  await eventually(async () => {
    const client = await ask(await from("127.0.0.1"), get("/proxy/api/"));
    client.destroy();
    return client.received.startsWith("HTTP/1.1 200 ");
  });
  expect(gateway.exchanges().some(({ outcome }) => outcome === "refused:UNDER_PRESSURE")).toBe(true);
});

test("A connection over the limit gets no WebSocket, and no upstream receives what it sends after the handshake", async () => {
  const { upstream, from, ask } = await start({ MAX_CONNECTIONS_PER_ADDRESS: "1" });
  await from("127.0.0.1");
  const client = await ask(await from("127.0.0.1"), get("/proxy/api/", ...HANDSHAKE), get("/proxy/api/second"));
  await eventually(() => client.closed);
  expect(client.received).toMatch(/^HTTP\/1\.1 503 /);
  expect(client.received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(upstream.requests).toEqual([]);
});

test("Hundreds of connections of one address keep no other client out", async () => {
  const { gateway, from, ask } = await start({ MAX_CONNECTIONS: "4" });
  const flood = await Promise.all(Array.from({ length: 300 }, () => from("127.0.0.9")));
  await eventually(() => flood.filter((client) => !client.closed).length <= 2 + 16);
  const other = await ask(await from("127.0.0.1"), get("/proxy/api/"));
  expect(other.received).toMatch(/^HTTP\/1\.1 200 /);
  other.destroy();
  for (const client of flood) client.destroy();
  await eventually(async () => {
    const { load } = (await (await fetch(`${gateway.url}/status`)).json()) as {
      load: { connections: { current: number; limitPerAddress: number }[] };
    };
    expect(load.connections[0]?.limitPerAddress).toBe(2);
    return (load.connections[0]?.current ?? 99) <= 2;
  });
});

test("Connections of a proxy in TRUST_PROXY are not counted", async () => {
  const { from, ask } = await start({ TRUST_PROXY: "127.0.0.5", PROXY_API_KEY: "proxy-key-0123456789abcdef" });
  const key = "x-api-key: proxy-key-0123456789abcdef";
  for (let i = 0; i < 5; i++) {
    const client = await ask(await from("127.0.0.5"), get("/proxy/api/", key, `X-Forwarded-For: 192.0.2.${i}`));
    expect(client.received).toMatch(/^HTTP\/1\.1 200 /);
  }
});

test("Addresses of one client are counted together, and forgotten with the last connection", () => {
  const counts = new AddressCounts();
  const enter = (address: string) => {
    const key = addressKey(address);
    counts.enter(key);
    return key;
  };
  const v4 = ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"].map(enter);
  const v6 = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(enter);
  expect([...v4, ...v6].map((key) => counts.of(key))).toEqual([3, 3, 3, 2, 2, 1]);
  expect(counts.size).toBe(3);
  for (const key of [...v4, ...v6]) counts.leave(key);
  expect(counts.size).toBe(0);
});
