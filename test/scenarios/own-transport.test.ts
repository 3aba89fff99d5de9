/** What the gateway's own HTTP/1.1 client guarantees towards upstreams. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const GET = "GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async function askFor(bytes: string, then: "keep" | "end" = "keep") {
  const upstream = await startRawUpstream(respondWith(bytes, then));
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 0, timeoutMs: 2_000 } } });
  return rawRequest(gateway.port, GET);
}

describe("response", () => {
  test("An unsolicited 100 Continue is ignored, however often it comes", async () => {
    const response = await askFor(
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    );
    expect([response.status, response.body]).toEqual([200, "ok"]);
  });

  test("A reason phrase that arrives in two packets is relayed whole", async () => {
    const upstream = await startRawUpstream((socket) => {
      socket.write("HTTP/1.1 200 Very ");
      setTimeout(() => socket.write("Well\r\nContent-Length: 2\r\n\r\nok"), 50);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await rawRequest(gateway.port, GET)).head).toMatch(/^HTTP\/1\.1 200 Very Well\r?$/m);
  });

  test("The data of a chunk is relayed before the chunk's CRLF arrives", async () => {
    const upstream = await startRawUpstream(respondWith(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello`));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(GET);
    await eventually(() => client.received.includes("hello"), "the data");
  });

  test("10,000 header lines are relayed or refused with a code, and one more is refused", async () => {
    const lines = (count: number) => "a:\r\n".repeat(count);
    const refused = await askFor(`${OK}${lines(10_001)}Content-Length: 2\r\n\r\nok`);
    expect([refused.status, /X-Proxy-Error: (\w+)/i.exec(refused.head)?.[1]]).toEqual([502, "UPSTREAM_PROTOCOL_ERROR"]);
    expect((await askFor(`${OK}${lines(9_000)}Content-Length: 2\r\n\r\nok`)).status).toBe(200);
  });

  test("A 503 whose body does not end is retried long before the deadline", async () => {
    let asked = 0;
    const upstream = await startRawUpstream((socket) => {
      const first = "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n";
      socket.write(++asked === 1 ? first : `${OK}Content-Length: 2\r\n\r\nok`);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 5_000 } } });
    const startedAt = performance.now();
    expect((await rawRequest(gateway.port, GET)).status).toBe(200);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});

test("The bytes of an upload's chunk, its CRLF included, leave when the chunk arrives", async () => {
  const upstream = await startRawUpstream(() => {});
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.write("POST /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  await eventually(() => upstream.received.join("").endsWith("\r\n\r\n5\r\nhello\r\n"), "the whole chunk");
  client.destroy();
});

test("Requests that are some seconds apart use one TLS handshake", async () => {
  const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
  const server = createServer({
    cert: readFileSync(file("localhost.pem")),
    key: readFileSync(file("localhost-key.pem")),
  });
  server.keepAliveTimeout = 0;
  let handshakes = 0;
  server.on("secureConnection", () => handshakes++);
  const upstream = await startUpstream((_, res) => res.end("ok"), server);
  const api = { baseUrl: `https://localhost:${upstream.port}`, tls: { caFile: file("ca.pem") } };
  const gateway = await startGateway({ services: { api } });
  for (let i = 0; i < 3; i++) {
    expect((await rawRequest(gateway.port, GET)).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
  }
  expect(handshakes).toBe(1);
});

test("Bytes that an upstream sends on an idle connection close it, and the next request is not affected", async () => {
  const upstream = await startRawUpstream((socket) => {
    socket.write(`${OK}Content-Length: 2\r\n\r\nok`);
    setTimeout(() => socket.write("HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"), 30);
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 0 } } });
  for (let i = 0; i < 2; i++) {
    expect((await rawRequest(gateway.port, GET)).status).toBe(200);
    await eventually(() => upstream.sockets.size === 0, "the end of the connection");
  }
});
