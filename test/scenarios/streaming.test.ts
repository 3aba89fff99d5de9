/** Bodies pass unchanged, at once, and in constant memory. */
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

describe("body", () => {
  test("A body of 5 MiB arrives byte for byte in both directions, with and without a length", async () => {
    const body = randomBytes(5 * 1024 * 1024);
    const upstream = await startUpstream(async (req, res) => {
      const received = await bodyOf(req);
      res.setHeader("x-framing", req.headers["content-length"] ?? req.headers["transfer-encoding"] ?? "");
      if (req.url === "/length") res.setHeader("content-length", received.length);
      res.end(received);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const known = await fetch(`${gateway.url}/proxy/api/length`, { method: "POST", body: new Uint8Array(body) });
    expect(known.headers.get("x-framing")).toBe(String(body.length));
    expect(known.headers.get("content-length")).toBe(String(body.length));
    expect(sha256(Buffer.from(await known.arrayBuffer()))).toBe(sha256(body));

    const stream = new Blob([new Uint8Array(body)]).stream();
    const chunked = await fetch(`${gateway.url}/proxy/api/`, {
      method: "POST",
      body: stream,
      duplex: "half",
    } as RequestInit);
    expect(chunked.headers.get("x-framing")).toBe("chunked");
    expect(sha256(Buffer.from(await chunked.arrayBuffer()))).toBe(sha256(body));
  });

  test("An empty body stays empty, for a POST with length 0 and for a POST without a length", async () => {
    const gateway = await startGateway();
    for (const length of ["Content-Length: 0\r\n", ""]) {
      const bytes = `POST /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\n${length}Connection: close\r\n\r\n`;
      expect(JSON.parse((await rawRequest(gateway.port, bytes)).body)).toMatchObject({ body: { size: 0 } });
    }
  });

  test("A slow client slows the upstream down: the gateway does not read the response into memory", async () => {
    let upstreamWritten = () => 0;
    const upstream = await startRawUpstream((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${256 * 1024 * 1024}\r\n\r\n`);
      const chunk = Buffer.alloc(1024 * 1024);
      const pump = () => {
        while (socket.writable && socket.write(chunk));
      };
      socket.on("drain", pump);
      pump();
      upstreamWritten = () => socket.bytesWritten - socket.writableLength;
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.pause();
    client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => upstreamWritten() > 0);
    // The number of bytes becomes stable when all buffers are full: the kernel's, and some kilobytes of the gateway.
    let last = -1;
    await eventually(() => {
      const now = upstreamWritten();
      const isSettled = now === last;
      last = now;
      return isSettled;
    });
    expect(last).toBeLessThan(48 * 1024 * 1024);
  });

  test("A slow upstream slows the client down: the gateway does not read the upload into memory", async () => {
    const upstream = await startRawUpstream((socket) => socket.pause());
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    const size = 256 * 1024 * 1024;
    client.write(`POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`);
    const chunk = Buffer.alloc(1024 * 1024);
    const pump = () => {
      while (client.writable && client.bytesWritten < size && client.write(chunk));
    };
    client.on("drain", pump);
    pump();
    let last = -1;
    await eventually(() => {
      const now = client.bytesWritten - client.writableLength;
      const isSettled = now > 0 && now === last;
      last = now;
      return isSettled;
    });
    expect(last).toBeLessThan(48 * 1024 * 1024);
  });
});

test.each([
  ["gzip", gzipSync],
  ["br", brotliCompressSync],
  ["zstd", (text: string) => Buffer.from(`\x28\xb5\x2f\xfd${text}`, "latin1")],
] as const)("A response encoded with %s is relayed unchanged", async (coding, pack) => {
  const packed = pack("hello ".repeat(1_000));
  const upstream = await startUpstream((_, res) => {
    res.writeHead(200, { "content-encoding": coding, "content-length": packed.length }).end(packed);
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const request = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  const { head, body } = await rawRequest(gateway.port, request);
  expect(head).toMatch(new RegExp(`^content-encoding: ${coding}$`, "m"));
  expect(Buffer.from(body, "latin1").equals(packed)).toBe(true);
});

describe("event stream", () => {
  test("An event stream's headers arrive before the first event, and each event at once", async () => {
    let push: (event: string) => void = () => {};
    const upstream = await startUpstream((_, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.flushHeaders();
      push = (event) => res.write(`data: ${event}\n\n`);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => client.received.includes("text/event-stream") && client.received.includes("\r\n\r\n"));
    for (const event of ["one", "two"]) {
      const pushedAt = performance.now();
      push(event);
      await eventually(() => client.received.includes(`data: ${event}\n\n`));
      expect(performance.now() - pushedAt).toBeLessThan(100);
    }
  });

  test("An event stream may be silent for longer than any other body", async () => {
    const upstream = await startUpstream((req, res) => {
      res.writeHead(200, { "content-type": req.url === "/events" ? "Text/Event-Stream; charset=utf-8" : "text/plain" });
      res.write("x");
    });
    const services = { api: { baseUrl: upstream.url }, limited: { baseUrl: upstream.url, idleTimeoutMs: 80 } };
    const gateway = await startGateway({ services });
    const [free, limited, plain] = await Promise.all(["api/events", "limited/events", "limited/text"].map(open));
    async function open(path: string) {
      const client = await openSocket(gateway.port);
      client.write(`GET /proxy/${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await eventually(() => client.received.includes("x\r\n"));
      return client;
    }
    // A configured limit applies to both kinds; without one, only the event stream has no limit.
    await eventually(() => limited?.destroyed && plain?.destroyed, "the configured limit to cut");
    expect(free?.destroyed).toBe(false);
    expect(gateway.exchanges().map((line) => line.outcome)).toEqual([
      "failed:UPSTREAM_TIMEOUT",
      "failed:UPSTREAM_TIMEOUT",
    ]);
  });
});

test("An event stream survives five silent minutes; any other body does so only if it is configured", async () => {
  const upstream = await startUpstream((req, res) => {
    res.writeHead(200, { "content-type": req.url === "/events" ? "text/event-stream" : "text/plain" });
    res.write("x");
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 300 } } });
  const [events, text] = await Promise.all(
    ["events", "text"].map(async (path) => {
      const client = await openSocket(gateway.port);
      client.write(`GET /proxy/api/${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await eventually(() => client.received.includes("x\r\n"));
      return client;
    }),
  );
  const { now } = performance;
  onTestFinished(() => {
    performance.now = now;
  });
  performance.now = () => now.call(performance) + 301_000;
  await new Promise((resolve) => text?.once("close", resolve));
  await new Promise(setImmediate);
  expect(events?.destroyed).toBe(false);
  expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(["failed:UPSTREAM_TIMEOUT"]);
});

describe("Expect: 100-continue", () => {
  test("The gateway sends 100 Continue when it starts to read the body, and Expect does not reach the upstream", async () => {
    const gateway = await startGateway();
    const socket = await openSocket(gateway.port);
    socket.write("PUT /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    await eventually(() => socket.received === "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write("body");
    await eventually(() => socket.received.includes('"size": 4'));
    expect(socket.received).not.toMatch(/"expect"/i);
  });

  test("A refused request gets no 100 Continue, so its upload never starts", async () => {
    const gateway = await startGateway({ env: { PROXY_API_KEY: "a-key-of-sixteen-or-more" } });
    const bytes = "PUT /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    const response = await rawRequest(gateway.port, bytes);
    expect(response.status).toBe(401);
    expect(response.text).not.toContain("100 Continue");
  });
});

describe("HTTP/1.0 client", () => {
  // Without a key the gateway refuses HTTP/1.0.
  const env = { PROXY_API_KEY: PROXY_KEY };
  test("An HTTP/1.0 client never gets an interim response", async () => {
    const gateway = await startGateway({ env });
    const head = `PUT /proxy/echo/ HTTP/1.0\r\nx-api-key: ${PROXY_KEY}\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`;
    const response = await rawRequest(gateway.port, `${head}body`);
    expect(response.status).toBe(200);
    expect(JSON.parse(response.body)).toMatchObject({ body: { size: 4 } });
  });

  test("An HTTP/1.0 client gets a chunked response without chunks, framed by the connection's end", async () => {
    const upstream = await startUpstream((_, res) => {
      res.write("a");
      res.end("b");
    });
    const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
    const response = await rawRequest(
      gateway.port,
      `GET /proxy/api/ HTTP/1.0\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`,
    );
    expect(response.body).toBe("ab");
    expect(response.head).not.toMatch(/transfer-encoding/i);
  });
});

test("A connection is reused for the next request, on both sides", async () => {
  const upstream = await startUpstream();
  const ports = new Set<number | undefined>();
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  // A POST uses only a connection that was reused before, or has been open for a while.
  for (const [i, method] of ["PUT", "PUT", "POST", "POST"].entries()) {
    client.write(`${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi`);
    await eventually(() => (client.received.match(/HTTP\/1\.1 200/g) ?? []).length === i + 1);
    ports.add(upstream.requests.at(-1)?.socket.remotePort);
  }
  expect(ports.size).toBe(1);
});

test("A GET with a body and a request with trailers arrive with a single framing", async () => {
  const gateway = await startGateway();
  const response = await new Promise<string>((resolve, reject) => {
    const req = request(`${gateway.url}/proxy/echo/`, {
      method: "GET",
      headers: { "transfer-encoding": "chunked", trailer: "x-a" },
    });
    req.on("response", async (res) => resolve((await bodyOf(res)).toString()));
    req.on("error", reject);
    req.addTrailers({ "x-a": "1" });
    req.end("body");
  });
  expect(JSON.parse(response)).toMatchObject({ body: { size: 4 } });
  expect(response).not.toContain("x-a");
});
