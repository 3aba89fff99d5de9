/** A client that leaves ends the upstream's request at once, in every phase of the exchange, and does not count as a failure. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";

/** Maximum time until the upstream sees the end, ms. */
const AT_ONCE_MS = 100;

const GET = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

async function expectEndWithin(upstream: Awaited<ReturnType<typeof startUpstream>>, leave: () => void): Promise<void> {
  const closed = new Promise((resolve) => {
    for (const socket of upstream.sockets) socket.once("close", () => resolve(performance.now()));
  });
  const leftAt = performance.now();
  leave();
  expect((await closed) as number).toBeLessThan(leftAt + AT_ONCE_MS);
  // The gateway opens no new connection instead.
  await eventually(() => upstream.sockets.size === 0, "the upstream's sockets to be gone");
}

describe("client that leaves", () => {
  test("A client that leaves before the response headers ends the upstream's request", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => upstream.requests.length === 1);
    await expectEndWithin(upstream, () => client.destroy());
    const line = await eventually(() => gateway.exchanges()[0]);
    expect(line).toMatchObject({ status: 499, outcome: "client-left" });
  });

  test("A client that leaves during the response body ends the upstream's request", async () => {
    const upstream = await startUpstream((_, res) => res.write("some"));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => client.received.includes("some"));
    await expectEndWithin(upstream, () => client.resetAndDestroy());
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", status: 499 });
  });

  test("A client that leaves during its upload ends the upstream's request, and the upstream never receives a complete body", async () => {
    let ended = false;
    const upstream = await startUpstream((req) => {
      req.on("data", () => {});
      req.on("end", () => {
        ended = true;
      });
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    for (const framing of ["Content-Length: 1000", "Transfer-Encoding: chunked"]) {
      const client = await openSocket(gateway.port);
      client.write(`POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n${framing}\r\n\r\n4\r\npart\r\n`);
      await eventually(() => upstream.sockets.size === 1);
      await expectEndWithin(upstream, () => client.destroy());
    }
    expect(ended).toBe(false);
    await eventually(() => gateway.exchanges().filter((line) => line.outcome === "client-left").length === 2);
  });

  test("If a client leaves while its small body is buffered, nothing is sent upstream", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write("PUT /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\npart");
    client.end();
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", attempts: 0 });
    expect(upstream.requests).toEqual([]);
    // This is no failure: the access line is the only log line.
    expect(gateway.lines()).toHaveLength(1);
  });

  test("If a client leaves during the back-off, no retry is sent", async () => {
    const upstream = await startUpstream((_, res) => {
      res.writeHead(503, { "retry-after": "5" });
      res.end();
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => upstream.requests.length === 1);
    await eventually(() => client.readyState === "open");
    client.destroy();
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", attempts: 1 });
    expect(upstream.requests).toHaveLength(1);
  });

  test("If a client leaves while it does not read, the gateway stops reading the upstream's response", async () => {
    const upstream = await startUpstream((_, res) => {
      res.write(Buffer.alloc(32 * 1024 * 1024));
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.pause();
    client.write(GET);
    await eventually(() => [...upstream.sockets].some((socket) => socket.bytesWritten > 0));
    await expectEndWithin(upstream, () => client.destroy());
  });

  test("A client that closes only its sending side counts as a client that left, as in nginx", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => upstream.requests.length === 1);
    await expectEndWithin(upstream, () => client.end());
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left" });
  });

  test("If a client leaves while the connection to the upstream is being opened, nothing is sent on it", async () => {
    // This server delays the TLS handshake until the client has left, then forwards it to the real server.
    const pem = (name: string) => readFileSync(join(import.meta.dirname, "../support/tls", name));
    const server = createServer({ cert: pem("localhost.pem"), key: pem("localhost-key.pem") });
    const upstream = await startUpstream(undefined, server);
    let release: () => void = () => {};
    const gate = await startRawUpstream((socket, hello) => {
      release = () => {
        const behind = connect(upstream.port, "127.0.0.1");
        behind.on("error", () => {});
        behind.write(Buffer.from(hello, "latin1"));
        behind.pipe(socket).pipe(behind);
      };
    });
    const tls = { strict: false };
    const gateway = await startGateway({ services: { api: { baseUrl: `https://127.0.0.1:${gate.port}`, tls } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => gate.received[0]);
    client.destroy();
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", attempts: 1 });
    release();
    await eventually(() => gate.sockets.size === 0, "the unused connection to close");
    expect(upstream.requests).toEqual([]);
    expect(gate.received).toHaveLength(1);
  });

  test("A client that no longer reads is cut after idleTimeoutMs, and this does not count as an upstream failure", async () => {
    const upstream = await startUpstream((_, res) => res.end(Buffer.alloc(32 * 1024 * 1024)));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleTimeoutMs: 150 } } });
    const client = await openSocket(gateway.port);
    client.pause();
    client.write(GET);
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", status: 499 });
    await eventually(() => upstream.sockets.size === 0);
  });
});
