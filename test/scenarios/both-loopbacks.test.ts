/** A gateway on `localhost`: 127.0.0.1 and ::1 are one listener with one set of limits. */
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const ADDRESSES = ["127.0.0.1", "[::1]"];
const env = { HOST: "localhost" };

async function connectTo(port: number, host: string): Promise<Socket & { received: string }> {
  const socket = Object.assign(connect(port, host), { received: "" });
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    socket.received += chunk;
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  onTestFinished(() => void socket.destroy());
  return socket;
}

test("Both planes are served on 127.0.0.1 and ::1, with and without a management listener", async () => {
  for (const more of [[], [["MANAGEMENT_PORT", "0"]]]) {
    const gateway = await startGateway({ env: { ...env, ...Object.fromEntries(more) } });
    const management = new URL(gateway.managementUrl ?? gateway.url).port;
    for (const address of ADDRESSES) {
      expect((await fetch(`http://${address}:${gateway.port}/proxy/echo/x`)).status).toBe(200);
      expect((await fetch(`http://${address}:${management}/manage/services`)).status).toBe(200);
    }
    await gateway.close();
    await expect(fetch(`http://[::1]:${gateway.port}/health`)).rejects.toThrow();
  }
});

test("MAX_CONNECTIONS counts the clients of both addresses together", async () => {
  const gateway = await startGateway({ env: { ...env, MAX_CONNECTIONS: "2" } });
  await connectTo(gateway.port, "127.0.0.1");
  await connectTo(gateway.port, "::1");
  await eventually(async () => (await fetch(`http://[::1]:${gateway.port}/proxy/echo/`)).status === 503);
  expect((await fetch(`http://127.0.0.1:${gateway.port}/proxy/echo/`)).status).toBe(503);
});

test("A malformed request on ::1 is refused as on 127.0.0.1", async () => {
  const gateway = await startGateway({ env });
  const client = await connectTo(gateway.port, "::1");
  client.write("GET / HTTP/1.1\r\nbroken\r\n\r\n");
  await eventually(() => client.closed);
  expect(client.received).toMatch(/^HTTP\/1\.1 400 [\s\S]*INVALID_REQUEST/);
});

test("Both addresses drain together: a request on either is finished, and what is left is cut and counted", async () => {
  const upstream = await startUpstream(
    (req, res) => void (req.url === "/slow" && setTimeout(() => res.end("late"), 100)),
  );
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
  const clients = [];
  for (const path of ["slow", "never"]) {
    for (const host of ["127.0.0.1", "::1"]) {
      const client = await connectTo(gateway.port, host);
      client.write(`GET /proxy/api/${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      clients.push(client);
    }
  }
  await eventually(() => upstream.requests.length === 4);
  expect(await gateway.drain(0, 300)).toBe(2);
  expect(clients.map(({ received }) => received.includes("late"))).toEqual([true, true, false, false]);
});

test("The gateway never dials its own listener, on neither address", async () => {
  const gateway = await startGateway({ env });
  for (const address of [...ADDRESSES, "localhost", "[::]", "[::ffff:127.0.0.1]"]) {
    const config = { baseUrl: `http://${address}:${gateway.port}/` };
    const response = await fetch(`${gateway.url}/manage/services`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: "self", config }),
    });
    expect([address, response.status]).toEqual([address, 403]);
  }
});

test("HOST=127.0.0.1 listens on that address alone, and another process may have ::1", async () => {
  const gateway = await startGateway();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen({ port: gateway.port, host: "::1" }, resolve));
  onTestFinished(() => void other.close());
});

test.each(["127.0.0.1", "::1"])(
  "If another process holds the port on %s, the gateway does not start on localhost",
  async (host) => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen({ port: 0, host }, resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    await expect(startGateway({ env: { ...env, PORT: String(port) } })).rejects.toMatchObject({
      code: "EADDRINUSE",
      address: host,
    });
  },
);
