/** Faults in the responses of upstreams, and what the client has to receive then. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

type End = "keep" | "end" | "reset";

/** Sends one request through a new gateway to an upstream that responds with these bytes. */
async function sendRequest(
  bytes: string,
  then: End = "keep",
  request = "GET /proxy/api/x HTTP/1.1\r\nHost: localhost",
) {
  const upstream = await startRawUpstream(respondWith(bytes, then));
  const services = { api: { baseUrl: upstream.url, timeoutMs: 300, retries: 0 } };
  // Without a key the gateway refuses HTTP/1.0.
  const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY }, services });
  const response = await rawRequest(gateway.port, `${request}\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`);
  const line = await eventually(() => gateway.exchanges()[0], "the access line");
  const alive = await fetch(`${gateway.url}/health`);
  expect(alive.status).toBe(200);
  return { response, line, upstream };
}

const OK = "HTTP/1.1 200 OK\r\n";

describe("response that the upstream cuts off", () => {
  test.each<[string, string, End]>([
    ["a length, FIN", `${OK}Content-Length: 20\r\n\r\nhalf`, "end"],
    ["a length, RST", `${OK}Content-Length: 20\r\n\r\nhalf`, "reset"],
    ["a length and Connection: close, FIN", `${OK}Connection: close\r\nContent-Length: 20\r\n\r\nhalf`, "end"],
    ["chunks, FIN", `${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, "end"],
    ["chunks, RST", `${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, "reset"],
    [
      "chunks and Connection: close, FIN",
      `${OK}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`,
      "end",
    ],
    [
      "chunks and Connection: close, RST",
      `${OK}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`,
      "reset",
    ],
    ["no length, RST", `${OK}Connection: close\r\n\r\nhalf`, "reset"],
    ["a bad chunk", `${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n`, "keep"],
  ])(
    "A response that the upstream cuts off is cut off for the client, never ended as if complete: %s",
    async (_, bytes, then) => {
      const { response, line } = await sendRequest(bytes, then);
      expect(response.status).toBe(200);
      expect(response.end).not.toBe("open");
      expect(response.body).not.toContain("0\r\n\r\n");
      const length = /content-length: (\d+)/i.exec(response.head)?.[1];
      if (length !== undefined) expect(response.body.length).toBeLessThan(Number(length));
      expect(line.outcome).toMatch(/^failed:UPSTREAM_/);
    },
  );

  test("A response without a length is cut for the client when a reset arrives together with its last bytes", async () => {
    const upstream = await startRawUpstream((socket, received) => {
      if (!received.endsWith("\r\n\r\n")) return;
      socket.write(`${OK}Connection: close\r\n\r\nfirst`);
      setTimeout(() => {
        socket.write("half");
        socket.resetAndDestroy();
      }, 20);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const response = await rawRequest(gateway.port, "GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(response.body).toContain("first");
    expect(response.body).not.toContain("0\r\n\r\n");
    expect((await eventually(() => gateway.exchanges()[0])).outcome).toBe("failed:UPSTREAM_UNREACHABLE");
  });

  test("An HTTP/1.0 client gets a reset for a cut response, because a clean end would make it look complete", async () => {
    const request = "GET /proxy/api/x HTTP/1.0\r\nHost: localhost";
    const { response } = await sendRequest(`${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, "end", request);
    expect(response.end).toBe("reset");
  });

  test("A response framed by the connection's end is complete when that end is clean", async () => {
    const { response, line } = await sendRequest(`${OK}Connection: close\r\n\r\nwhole`, "end");
    expect(response.body).toBe("5\r\nwhole\r\n0\r\n\r\n");
    expect(line.outcome).toBe("relayed");
  });
});

describe("response that cannot be relayed", () => {
  test.each<[string, string, End, number, string]>([
    ["no response at all", "", "keep", 504, "UPSTREAM_TIMEOUT"],
    ["a closed connection", "", "end", 502, "UPSTREAM_UNREACHABLE"],
    ["half a head", `${OK}Content-Le`, "end", 502, "UPSTREAM_UNREACHABLE"],
    ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    ["status 000", "HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    ["status 099", "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    ["status 1000", "HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n", "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    [
      "a 101 without an upgrade request",
      "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
      "keep",
      502,
      "UPSTREAM_PROTOCOL_ERROR",
    ],
    [
      "a length together with chunks",
      `${OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
      "keep",
      502,
      "UPSTREAM_PROTOCOL_ERROR",
    ],
    ["two lengths", `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk`, "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    ["a folded header", `${OK}X: a\r\n b\r\nContent-Length: 2\r\n\r\nok`, "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    ["NUL in a header", `${OK}X: a\0b\r\nContent-Length: 2\r\n\r\nok`, "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
    [
      "a transfer coding that was not requested",
      `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
      "keep",
      502,
      "UPSTREAM_PROTOCOL_ERROR",
    ],
    ["100 kB of headers", `${OK}X: ${"a".repeat(100_000)}\r\n\r\n`, "keep", 502, "UPSTREAM_PROTOCOL_ERROR"],
  ])(
    "A response that cannot be relayed becomes an error with a code, and the process survives: %s",
    async (_, bytes, then, status, code) => {
      const { response, line, upstream } = await sendRequest(bytes, then);
      expect(response.status).toBe(status);
      expect(response.head).toMatch(new RegExp(`^X-Proxy-Error: ${code}$`, "m"));
      expect(response.head).toMatch(/^Proxy-Status: byteproxy; error=/m);
      expect(JSON.parse(response.body)).toMatchObject({ code, status, service: "api", path: "/x" });
      expect(line).toMatchObject({ status, outcome: `failed:${code}` });
      // The client must not learn the upstream's address.
      expect(response.text).not.toContain(String(upstream.port));
    },
  );
});

describe("unusual but legal response", () => {
  test.each<[string, string, number, string]>([
    ["a status above 599", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", 999, "ok"],
    ["a control byte in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok", 200, "ok"],
    ["Trailer together with a length", `${OK}Trailer: X\r\nContent-Length: 2\r\n\r\nok`, 200, "ok"],
    ["bytes after the length", `${OK}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n`, 200, "ok"],
    ["204 with a length and bytes", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, ""],
    ["304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, ""],
    ["50 kB of headers", `${OK}X: ${"a".repeat(50_000)}\r\nContent-Length: 2\r\n\r\nok`, 200, "ok"],
  ])("An unusual but legal response is relayed: %s", async (_, bytes, status, body) => {
    const { response, line } = await sendRequest(bytes);
    expect(response.status).toBe(status);
    expect(response.body).toBe(body);
    expect(line).toMatchObject({ outcome: "relayed", status });
  });

  test("The response to HEAD keeps its length and has no body, even if the upstream sends one", async () => {
    const { response } = await sendRequest(
      `${OK}Content-Length: 2\r\n\r\nok`,
      "keep",
      "HEAD /proxy/api/x HTTP/1.1\r\nHost: localhost",
    );
    expect(response.head).toMatch(/^content-length: 2$/im);
    expect(response.body).toBe("");
  });

  test("Header bytes above 127 are relayed unchanged", async () => {
    const { response } = await sendRequest(`${OK}X-Name: caf\xe9 \xff\r\nContent-Length: 0\r\n\r\n`);
    expect(response.head).toMatch(/^x-name: caf\xe9 \xff$/im);
  });

  test("After a 204 and a 304 on the same connection the next response is relayed correctly", async () => {
    const upstream = await startUpstream((req, res) => {
      res.writeHead(req.url === "/204" ? 204 : req.url === "/304" ? 304 : 200, { "x-url": req.url });
      res.end(req.url === "/200" ? "ok" : undefined);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const socket = await openSocket(gateway.port);
    for (const status of [204, 304, 200, 204, 200]) {
      const from = socket.received.length;
      socket.write(`GET /proxy/api/${status} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await eventually(() => socket.received.slice(from).includes(`x-url: /${status}`));
      expect(socket.received.slice(from)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      await eventually(() => status !== 200 || socket.received.endsWith("0\r\n\r\n") || socket.received.endsWith("ok"));
    }
  });
});

test("An upstream cannot impersonate the gateway: its X-Proxy-* and CORS headers are removed", async () => {
  const forged =
    'X-Proxy-Error: FORGED\r\nx-proxy-service: forged\r\nAccess-Control-Allow-Origin: *\r\nAlt-Svc: h2=":1"\r\n';
  const { response } = await sendRequest(`${OK}${forged}Content-Length: 2\r\n\r\nok`);
  expect(response.head).not.toMatch(/forged|x-proxy-error|access-control|alt-svc/i);
  expect(response.head).toMatch(/^X-Proxy-Service: api$/m);
});

test("Response headers named __proto__ and constructor are relayed like any other", async () => {
  const { response } = await sendRequest(`${OK}__proto__: x\r\nconstructor: y\r\nContent-Length: 2\r\n\r\nok`);
  expect(response.head).toMatch(/^__proto__: x$/m);
  expect(response.body).toBe("ok");
});

describe("trailers", () => {
  const bytes = `${OK}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n`;

  test("Trailers are relayed if the client sent TE: trailers, and the upstream receives that header", async () => {
    const { response, upstream } = await sendRequest(
      bytes,
      "keep",
      "GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nTE: gzip, trailers",
    );
    expect(upstream.received[0]).toMatch(/^TE: trailers\r$/m);
    expect(response.body).toMatch(/^2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n$/i);
  });

  test.each([
    ["HEAD", 200, `${OK}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ["GET", 204, "HTTP/1.1 204 No Content\r\nTrailer: X-Sum\r\n\r\n"],
    ["GET", 304, 'HTTP/1.1 304 Not Modified\r\nTrailer: X-Sum\r\nETag: "1"\r\n\r\n'],
  ])(
    "A response to %s with status %i and no body announces no trailers and is relayed",
    async (method, status, bytes) => {
      const request = `${method} /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nTE: trailers`;
      const { response } = await sendRequest(bytes, "keep", request);
      expect(response.status).toBe(status);
      expect(response.head).not.toMatch(/^trailer:/im);
      expect(response.body).toBe("");
    },
  );

  test("Trailers are dropped if the client did not send TE: trailers", async () => {
    const { response, upstream } = await sendRequest(bytes);
    expect(upstream.received[0]).not.toMatch(/^te:/im);
    expect(response.body).toBe("2\r\nok\r\n0\r\n\r\n");
  });
});

test("An upstream's 413 during an upload reaches the client, and the upload stops", async () => {
  const upstream = await startUpstream((_, res) => {
    res.writeHead(413, { connection: "close", "content-length": "9" });
    res.end("too large");
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const socket = await openSocket(gateway.port);
  const hadError = new Promise((resolve) => socket.once("close", resolve));
  const chunk = Buffer.alloc(65_536, 97);
  const size = 200 * 1024 * 1024;
  let sent = 0;
  socket.write(`POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n`);
  const pump = () => {
    while (!socket.destroyed && !socket.writableEnded && sent < size) {
      sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.on("drain", pump);
  socket.on("end", () => socket.end());
  pump();
  await eventually(() => socket.received.includes("too large"), "the 413");
  expect(socket.received).toMatch(/^HTTP\/1\.1 413 /);
  expect(socket.received).toMatch(/^Connection: close\r$/im);
  await eventually(() => socket.destroyed, "the connection to end");
  // With a reset, a client that is still sending would lose the response.
  expect(await hadError).toBe(false);
  expect(sent).toBeLessThan(size);
});

test("A reset by the upstream while the client reads slowly ends that response and not the process", async () => {
  let upstreamSocket: import("node:net").Socket | undefined;
  const upstream = await startRawUpstream((socket) => {
    upstreamSocket = socket;
    socket.write(`${OK}Connection: close\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
    socket.write(Buffer.alloc(16 * 1024 * 1024));
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.pause();
  client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  // All buffers are full: the upstream can write no more.
  const written = await eventually(() => upstreamSocket?.bytesWritten, "the upstream to write");
  await eventually(() => upstreamSocket !== undefined && upstreamSocket.writableLength > 0 && written > 0);
  upstreamSocket?.resetAndDestroy();
  await eventually(
    () => gateway.exchanges().length === 1 || client.destroyed || client.resume(),
    "the end of the exchange",
  );
  await eventually(() => gateway.exchanges().length > 0, "the line");
  expect(gateway.exchanges()[0]?.outcome).toMatch(/^failed:UPSTREAM_/);
  expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
});
