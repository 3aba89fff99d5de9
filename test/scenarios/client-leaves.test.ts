/** A client that leaves ends the upstream's request at once, wherever the exchange stands, and is nobody's failure. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";

/** ms within which the upstream must know. */
const AT_ONCE_MS = 100;

const GET = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

async function expectEndWithin(upstream: Awaited<ReturnType<typeof startUpstream>>, leave: () => void): Promise<void> {
  const closed = new Promise((resolve) => {
    for (const socket of upstream.sockets) socket.once("close", () => resolve(performance.now()));
  });
  const leftAt = performance.now();
  leave();
  expect((await closed) as number).toBeLessThan(leftAt + AT_ONCE_MS);
  // And no new connection takes the place of the old one.
  await eventually(() => upstream.sockets.size === 0, "the upstream's sockets to be gone");
}

describe("a client that leaves", () => {
  test("before the answer's headers ends the upstream's request", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => upstream.requests.length === 1);
    await expectEndWithin(upstream, () => client.destroy());
    const line = await eventually(() => gateway.exchanges()[0]);
    expect(line).toMatchObject({ status: 499, outcome: "client-left" });
  });

  test("in the middle of the answer ends it", async () => {
    const upstream = await startUpstream((_, res) => res.write("some"));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => client.received.includes("some"));
    await expectEndWithin(upstream, () => client.resetAndDestroy());
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", status: 499 });
  });

  test("in the middle of its upload ends it, and the upstream never sees a whole body", async () => {
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

  test("while a small body is still taken in hand sends nothing upstream", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write("PUT /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\npart");
    client.end();
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", attempts: 0 });
    expect(upstream.requests).toEqual([]);
    // It is nobody's failure: the access line is all that is said of it.
    expect(gateway.lines()).toHaveLength(1);
  });

  test("during the back-off before a retry is not retried for", async () => {
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

  test("stops the reading of an answer that it did not take", async () => {
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

  test("by shutting only its sending side has left, as it has to nginx", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => upstream.requests.length === 1);
    await expectEndWithin(upstream, () => client.end());
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left" });
  });

  test("while the connection to the upstream is still being made sends nothing over it", async () => {
    // The TLS handshake is held until the client has gone, then carried on by the real server behind.
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
    await eventually(() => gate.sockets.size === 0, "the connection that nobody needs to close");
    expect(upstream.requests).toEqual([]);
    expect(gate.received).toHaveLength(1);
  });

  test("by no longer reading is cut after idleTimeoutMs, and the upstream is not blamed", async () => {
    const upstream = await startUpstream((_, res) => res.end(Buffer.alloc(32 * 1024 * 1024)));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleTimeoutMs: 150 } } });
    const client = await openSocket(gateway.port);
    client.pause();
    client.write(GET);
    expect(await eventually(() => gateway.exchanges()[0])).toMatchObject({ outcome: "client-left", status: 499 });
    await eventually(() => upstream.sockets.size === 0);
  });
});
