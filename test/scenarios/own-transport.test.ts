/** What the gateway's own HTTP/1.1 client guarantees towards upstreams. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

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

  test("10,000 header lines are relayed, and one more is refused", async () => {
    const respondTo = (count: number) => askFor(`${OK}${"a:\r\n".repeat(count - 1)}Content-Length: 2\r\n\r\nok`);
    const { status, head, body } = await respondTo(10_000);
    expect([status, head.match(/^a: *\r$/gm)?.length, body]).toEqual([200, 9_999, "ok"]);
    const refused = await respondTo(10_001);
    expect([refused.status, /X-Proxy-Error: (\w+)/i.exec(refused.head)?.[1]]).toEqual([502, "UPSTREAM_PROTOCOL_ERROR"]);
  });

  test("Headers of 64 KiB are relayed, and one more byte is refused", async () => {
    const respondTo = (bytes: number) => {
      const framing = "Content-Length: 2\r\n\r\n";
      const filler = "a".repeat(bytes - `${OK}x: \r\n${framing}`.length);
      return askFor(`${OK}x: ${filler}\r\n${framing}ok`);
    };
    expect((await respondTo(65_536)).body).toBe("ok");
    expect((await respondTo(65_537)).status).toBe(502);
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
