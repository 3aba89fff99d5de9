/** Addresses that may not be dialed are not dialed, by requests or by WebSockets, when the services file names them. */

import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createDial } from "../../src/data-plane/forward/egress.ts";
import { type EgressPolicy, forbiddenUrl } from "../../src/data-plane/forward/egress-policy.ts";
import { startGateway } from "../support/gateway.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const OK = respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

async function expectRefused(url: string, words: RegExp): Promise<void> {
  const response = await fetch(url);
  expect(response.status).toBe(403);
  expect(response.headers.get("x-proxy-error")).toBe("EGRESS_NOT_ALLOWED");
  const body = (await response.json()) as { message: string };
  expect(body.message).toMatch(words);
  expect(body.message).not.toMatch(/\d+\.\d+\.\d+\.\d+/);
}

async function expectNoWebSocket(url: string): Promise<void> {
  const socket = new WebSocket(url);
  socket.on("error", () => {});
  const [, response] = (await once(socket, "unexpected-response")) as [
    unknown,
    { statusCode: number; headers: object },
  ];
  expect(response).toMatchObject({ statusCode: 403, headers: { "x-proxy-error": "EGRESS_NOT_ALLOWED" } });
}

describe("address in the services file", () => {
  test.each([
    "http://169.254.169.254/latest/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://１６９.２５４.１６９.２５４/",
    "http://169.254.169.254./",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
  ])("The metadata or link-local address %s is refused", async (baseUrl) => {
    const gateway = await startGateway({ services: { api: { baseUrl, ws: true } } });
    await expectRefused(
      `${gateway.url}/proxy/api/x`,
      /^api points to an address that the gateway does not connect to: /,
    );
    await expectNoWebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/x`);
    const [line] = gateway.exchanges();
    expect(line).toMatchObject({ outcome: "refused:EGRESS_NOT_ALLOWED", attempts: 1 });
  });

  test.each([
    "http://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://2130706433:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
  ])("The address of this machine %s is dialed, unless EGRESS_ALLOW_PRIVATE is false", async (template) => {
    const upstream = await startRawUpstream(OK);
    const services = { api: { baseUrl: template.replace("PORT", String(upstream.port)), ws: true } };
    const open = await startGateway({ services });
    expect((await fetch(`${open.url}/proxy/api/x`)).status).toBe(200);
    const before = upstream.received.length;
    const closed = await startGateway({ env: { EGRESS_ALLOW_PRIVATE: "false" }, services });
    await expectRefused(`${closed.url}/proxy/api/x`, /loopback/);
    await expectNoWebSocket(`ws://127.0.0.1:${closed.port}/proxy/api/x`);
    expect(upstream.received).toHaveLength(before);
  });

  test("EGRESS_ALLOW_PRIVATE=false does not affect the embedded echo service", async () => {
    const gateway = await startGateway({ env: { EGRESS_ALLOW_PRIVATE: "false" } });
    expect((await fetch(`${gateway.url}/proxy/echo/`)).status).toBe(200);
  });
});

describe("the gateway's own listeners", () => {
  /** Returns a port that was free a moment ago: the services file has to name it before the gateway exists. */
  async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    return port;
  }

  test("The gateway never dials its own listeners, by address or by name", async () => {
    const [port, managementPort] = [await freePort(), await freePort()];
    const gateway = await startGateway({
      env: { PORT: String(port), MANAGEMENT_PORT: String(managementPort) },
      services: {
        main: { baseUrl: `http://127.0.0.1:${port}/`, ws: true },
        name: { baseUrl: `http://localhost:${port}/proxy/echo` },
        any: { baseUrl: `http://0.0.0.0:${port}/` },
        operators: { baseUrl: `http://127.0.0.1:${managementPort}/manage` },
      },
    });
    for (const service of ["main", "name", "any", "operators"]) {
      await expectRefused(`${gateway.url}/proxy/${service}/x`, /the gateway's own listener/);
    }
    await expectNoWebSocket(`ws://127.0.0.1:${port}/proxy/main/proxy/echo/`);
    expect(gateway.exchanges()).toHaveLength(5);
  });
});

test.each(["0.0.0.0", "::"])(
  "A listener bound to %s counts as the gateway's own under every address of this machine",
  (bound) => {
    const egress = { allowsPrivate: true, ownListeners: () => [{ address: bound, port: 3420 }] };
    const addresses = Object.values(networkInterfaces()).flatMap((each = []) => each);
    const hosts = addresses
      .filter(({ scopeid = 0 }) => scopeid === 0)
      .map(({ address, family }) => (family === "IPv6" ? `[${address}]` : address));
    for (const host of [...hosts, "127.0.0.2", "localhost", "[::1]", "[::ffff:127.9.9.9]", "0.0.0.0", "[::]"]) {
      expect(forbiddenUrl(`http://${host}:3420/`, egress), host).toBe("the gateway's own listener");
      expect(forbiddenUrl(`http://${host}:3421/`, egress), host).toBeUndefined();
    }
  },
);

describe("name", () => {
  async function dial(
    responses: LookupAddress[][],
    port: number,
    own: ReturnType<EgressPolicy["ownListeners"]> = [],
  ): Promise<string | undefined> {
    const egress: EgressPolicy = {
      allowsPrivate: true,
      ownListeners: () => own,
      resolve: (_hostname, _options, callback) => callback(null, responses.shift() ?? []),
    };
    const dialOnce = createDial({ service: { connectTimeoutMs: 1_000, tls: {} }, pem: {}, isTlsStrict: true, egress });
    return new Promise((resolve, reject) => {
      const target = { hostname: "api.test", host: "api.test", protocol: "http:", port: String(port) };
      dialOnce(target, (error, socket) => {
        if (error !== null) return reject(error);
        resolve(socket?.remoteAddress);
        socket?.destroy();
      });
    });
  }
  const address = (text: string): LookupAddress => ({ address: text, family: text.includes(":") ? 6 : 4 });

  test("A name is dialed at the address that was checked, and at none of its other addresses", async () => {
    const upstream = await startRawUpstream(OK);
    const responses = [[address("169.254.169.254"), address("127.0.0.1"), address("fe80::1")]];
    expect(await dial(responses, upstream.port)).toBe("127.0.0.1");
    expect(responses).toEqual([]);
  });

  test("If the allowed address of a name does not respond, its forbidden address is not dialed", async () => {
    const { port, sockets } = await startRawUpstream(OK);
    const own = [{ address: "127.0.0.1", port }];
    const dialling = dial([[address("127.0.0.1"), address("127.0.0.2")]], port, own);
    await expect(dialling).rejects.toMatchObject({ code: "ECONNREFUSED" });
    expect(sockets.size).toBe(0);
  });

  test("A name that resolves to a forbidden address the second time is refused then", async () => {
    const upstream = await startRawUpstream(OK);
    const responses = [[address("127.0.0.1")], [address("169.254.169.254")]];
    expect(await dial(responses, upstream.port)).toBe("127.0.0.1");
    await expect(dial(responses, upstream.port)).rejects.toMatchObject({ code: "EGRESS_NOT_ALLOWED" });
  });

  test("A name without an address is refused", async () => {
    await expect(dial([[]], 80)).rejects.toThrow("no address");
  });
});
