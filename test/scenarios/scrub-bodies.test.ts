/** A service with `scrubBodies`: no body of text that the client receives contains the injected secret. */
import { request as httpRequest } from "node:http";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

const SECRET = "tok/en+8Kd72Lp0==";
const STARS = "*".repeat(SECRET.length);

function service(baseUrl: string, more: Partial<ServiceInput> = {}): Record<string, Partial<ServiceInput>> {
  return { api: { baseUrl, auth: { type: "bearer", tokenEnvVar: "S" }, scrubBodies: true, ...more } };
}

/** A gateway in front of an upstream that responds to every request with these bytes. */
async function gatewayBefore(bytes: string | readonly string[], more: Partial<ServiceInput> = {}) {
  const upstream = await startRawUpstream((socket, received) => {
    if (!received.endsWith("\r\n\r\n")) return;
    for (const part of [bytes].flat()) socket.write(Buffer.from(part, "latin1"));
    socket.end();
  });
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url, more) });
  const ask = (lines = "", method = "GET") =>
    rawRequest(gateway.port, `${method} /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close${lines}\r\n\r\n`);
  return { upstream, gateway, ask };
}

const BODY = `{"a":"${SECRET}","b":"${encodeURIComponent(SECRET)}","c":"${Buffer.from(SECRET).toString("base64")}","d":"${SECRET.replaceAll("/", "\\/")}"}`;
const MASKED = `{"a":"${STARS}","b":"${"*".repeat(encodeURIComponent(SECRET).length)}","c":"${"*".repeat(23)}=","d":"${STARS}*"}`;

test.each([
  ["a length", `Content-Length: ${BODY.length}\r\n\r\n${BODY}`],
  ["chunks", `Transfer-Encoding: chunked\r\n\r\n${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`],
  [
    "chunks of one byte",
    `Transfer-Encoding: chunked\r\n\r\n${[...BODY].map((b) => `1\r\n${b}\r\n`).join("")}0\r\n\r\n`,
  ],
  ["the end of the connection", `\r\n${BODY}`],
])("The secret is masked in a body that is framed by %s, and its length stays the same", async (framing, rest) => {
  const { ask } = await gatewayBefore(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${rest}`);
  const { body, head } = await ask();
  expect(MASKED).toHaveLength(BODY.length);
  if (framing === "a length") {
    expect(head).toMatch(new RegExp(`content-length: ${BODY.length}\\b`, "i"));
    expect(body).toBe(MASKED);
  } else {
    expect(body.replace(/\r?\n?[0-9a-f]+\r\n|\r\n/g, "").replace(/^1(?={)/, "")).toBe(MASKED);
  }
});

test("A service without scrubBodies relays the same body, and the caller's Accept-Encoding and Range, unchanged", async () => {
  const { ask, upstream } = await gatewayBefore(
    `HTTP/1.1 200 OK\r\nETag: "x"\r\nAccept-Ranges: bytes\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
    { scrubBodies: false },
  );
  const { body, head } = await ask("\r\nAccept-Encoding: br\r\nRange: bytes=0-5");
  expect(body).toBe(BODY);
  expect(head).toMatch(/etag: "x"/i);
  expect(head).toMatch(/accept-ranges: bytes/i);
  expect(upstream.received[0]).toMatch(/accept-encoding: br\r\n/i);
  expect(upstream.received[0]).toMatch(/\r\nrange: bytes=0-5\r\n/i);
});

test("The upstream is asked for a whole and unencoded body, whatever the caller and the service ask for", async () => {
  const { ask, upstream } = await gatewayBefore("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {
    headers: { Range: "bytes=1-2" },
    setHeaders: { "accept-encoding": "zstd", "X-Kept": "1" },
  });
  await ask(
    '\r\nAccept-Encoding: gzip\r\nAccept_Encoding: gzip\r\nRange: bytes=0-5\r\nIf-Range: "x"\r\nx-ms-range: bytes=0-5\r\nWant-Repr-Digest: sha-256=1',
  );
  const sent = upstream.received[0] as string;
  expect(sent.match(/^accept.encoding: .*$/gim)).toEqual(["Accept-Encoding: identity"]);
  expect(sent).not.toMatch(/^(?:range|if-range|x-ms-range|want-repr-digest):/im);
  expect(sent).toMatch(/^X-Kept: 1\r$/m);
});

test("The tag becomes weak, and no field claims ranges or the digest of a body that may be masked", async () => {
  const fields =
    "Accept-Ranges: bytes\r\nContent-MD5: x\r\nDigest: x\r\nRepr-Digest: x\r\nContent-Digest: x\r\nX-Kept: 1\r\n";
  const trailers = "Trailer: Repr-Digest, X-Also\r\n";
  const { ask } = await gatewayBefore(
    `HTTP/1.1 200 OK\r\nETag: "v1"\r\n${fields}${trailers}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nRepr-Digest: x\r\nX-Also: ${SECRET}\r\n\r\n`,
  );
  const { text, head } = await ask(", TE\r\nTE: trailers");
  expect(head).toMatch(/^etag: W\/"v1"\r?$/im);
  expect(text).not.toMatch(/^(?:accept-ranges|content-md5|digest|repr-digest|content-digest):/im);
  expect(text).toMatch(/^x-kept: 1\r?$/im);
  expect(head).toMatch(/^trailer: X-Also\r?$/im);
  expect(text).toMatch(/^x-also: \*\*\*\r?$/im);
});

test("A condition with a weakened tag reaches the upstream with the tag that it sent", async () => {
  const upstream = await startUpstream((req, res) => {
    const isCurrent = req.headers["if-none-match"] === '"v1"';
    res.writeHead(isCurrent ? 304 : 200, { ETag: '"v1"', "Content-Type": "text/plain" });
    res.end(isCurrent ? undefined : SECRET);
  });
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url) });
  const first = await fetch(`${gateway.url}/proxy/api/x`);
  const tag = first.headers.get("etag") as string;
  expect([tag, await first.text()]).toEqual(['W/"v1"', STARS]);
  const second = await fetch(`${gateway.url}/proxy/api/x`, { headers: { "If-None-Match": tag } });
  expect([second.status, second.headers.get("etag")]).toEqual([304, 'W/"v1"']);
  await fetch(`${gateway.url}/proxy/api/x`, { method: "PUT", headers: { "If-Match": `${tag}, "W/o"` } });
  expect(upstream.requests.at(-1)?.headers["if-match"]).toBe('"v1", "W/o"');
});

test("A weak tag of the upstream's own reaches it as it sent it", async () => {
  const upstream = await startUpstream((_req, res) => res.writeHead(200, { ETag: 'W/"own"' }).end("x"));
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url) });
  await (await fetch(`${gateway.url}/proxy/api/x`)).text();
  await fetch(`${gateway.url}/proxy/api/x`, { method: "PUT", headers: { "If-Match": 'W/"own"' } });
  expect(upstream.requests.at(-1)?.headers["if-match"]).toBe('W/"own"');
});

test.each([
  ["an encoded body", "200 OK", "Content-Encoding: gzip\r\nContent-Type: text/plain", /gzip encoding/],
  ["an encoded body without a type", "200 OK", "Content-Encoding: br", /br encoding/],
  [
    "a part of a body",
    "206 Partial Content",
    "Content-Range: bytes 1-4/9\r\nContent-Type: text/plain",
    /part of a body/,
  ],
  ["text in UTF-16", "200 OK", 'Content-Type: text/xml; charset="UTF-16LE"', /text in utf-16/i],
])(
  "A response with %s is refused with 502 and a reason, because it cannot be searched",
  async (_, status, fields, reason) => {
    const bytes = gzipSync(SECRET).toString("latin1");
    const { ask } = await gatewayBefore(
      `HTTP/1.1 ${status}\r\n${fields}\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`,
    );
    const { body, head } = await ask();
    expect(head).toMatch(/^HTTP\/1\.1 502 /);
    const { code, message, hint } = JSON.parse(body);
    expect(code).toBe("UPSTREAM_PROTOCOL_ERROR");
    expect(message).toMatch(reason);
    expect(hint).toMatch(/scrubBodies/);
  },
);

test.each([
  ["HEAD", `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: "x"\r\nContent-Length: 7\r\n\r\n`],
  ["GET", `HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\nETag: "x"\r\n\r\n`],
  ["GET", `HTTP/1.1 204 No Content\r\nETag: "x"\r\n\r\n`],
])("A response to %s that has no body is relayed: %s", async (method, bytes) => {
  const { ask } = await gatewayBefore(bytes);
  const { head, body } = await ask("", method);
  expect(head.slice(0, 12)).toBe(bytes.slice(0, 12));
  expect(head).toMatch(/^etag: W\/"x"\r?$/im);
  expect(body).toBe("");
});

test("A body that is no text is relayed byte for byte, with its encoding, its tag and its digest", async () => {
  const bytes = `\x00\xff${SECRET}`;
  const { ask } = await gatewayBefore(
    `HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Encoding: gzip\r\nETag: "x"\r\nContent-MD5: y\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`,
  );
  const { head, body } = await ask();
  expect(body).toBe(bytes);
  expect(head).toMatch(/^etag: "x"\r?$/im);
  expect(head).toMatch(/^content-md5: y\r?$/im);
});

test("The password of Basic is masked alone, with its user, and as the whole header", async () => {
  const upstream = await startUpstream((req, res) => {
    const header = req.headers.authorization as string;
    const pair = Buffer.from(header.slice(6), "base64").toString();
    res.end(JSON.stringify({ header, pair, password: pair.slice(5) }));
  });
  const gateway = await startGateway({
    env: { S: "user:pass-word-9x8y7z" },
    services: service(upstream.url, { auth: { type: "basic", tokenEnvVar: "S" } }),
  });
  const text = await (await fetch(`${gateway.url}/proxy/api/x`)).text();
  expect(text).toBe(`{"header":"Basic ${"*".repeat(28)}","pair":"${"*".repeat(21)}","password":"${"*".repeat(16)}"}`);
});

test("An event leaves at once, before the upstream sends any more", async () => {
  let write: ((text: string) => void) | undefined;
  const upstream = await startUpstream((_req, res) => {
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    res.flushHeaders();
    write = (text) => res.write(text);
  });
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url) });
  const socket = await openSocket(gateway.port);
  socket.write("GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => write !== undefined && /\r\n\r\n/.test(socket.received));
  for (const data of ["first", `{"token":"${SECRET}"}`, "ends with t: t", "100%"]) {
    write?.(`data: ${data}\n\n`);
    const expected = `data: ${data.replace(SECRET, STARS)}\n\n`;
    await eventually(() => socket.received.includes(expected), expected);
  }
});

test("The beginning of a secret waits for the next bytes, and only it", async () => {
  let write: ((text: string) => void) | undefined;
  const upstream = await startUpstream((_req, res) => {
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    res.flushHeaders();
    write = (text) => res.write(text);
  });
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url) });
  const socket = await openSocket(gateway.port);
  socket.write("GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => write !== undefined);
  write?.(`data: ${SECRET.slice(0, 9)}`);
  await eventually(() => socket.received.includes("data: "));
  expect(socket.received).not.toContain("data: t");
  write?.("another end\n\n");
  await eventually(() => socket.received.includes(`${SECRET.slice(0, 9)}another end`));
});

test("A response that the upstream cuts inside a secret is cut, and shows nothing of it", async () => {
  const { ask } = await gatewayBefore(`HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab ${SECRET.slice(0, 12)}`);
  const { body } = await ask();
  expect(body).toBe("ab ");
});

test("A body that ends inside of what could have become a secret arrives whole", async () => {
  const text = `ab ${SECRET.slice(0, 12)}`;
  const { ask } = await gatewayBefore(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  expect((await ask()).body).toBe(text);
});

test("The body of a refused WebSocket handshake is masked, too", async () => {
  const { ask } = await gatewayBefore(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`, {
    ws: true,
  });
  const { body } = await ask(
    ", Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
  );
  expect(body).toBe(MASKED);
});

test("A client that does not read stops the upstream, and all of a long body is masked", {
  timeout: 60_000,
}, async () => {
  const line = `{"token":"${SECRET}","text":"${"x".repeat(200)}"}\n`;
  const block = Buffer.from(line.repeat(256));
  const BLOCKS = 512;
  let sent = 0;
  const upstream = await startUpstream(async (req, res) => {
    await bodyOf(req);
    res.writeHead(200, { "Content-Type": "application/x-ndjson", "Content-Length": BLOCKS * block.length });
    const write = () => {
      while (sent < BLOCKS) {
        sent++;
        if (!res.write(block)) return void res.once("drain", write);
      }
      res.end();
    };
    write();
  });
  const gateway = await startGateway({ env: { S: SECRET }, services: service(upstream.url) });
  const response = await new Promise<import("node:http").IncomingMessage>((resolve) =>
    httpRequest(`${gateway.url}/proxy/api/x`, resolve).end(),
  );
  response.pause();
  let [before, still] = [0, 0];
  // The kernel's buffers fill up, and then nothing more is taken.
  await eventually(
    () => {
      still = sent === before ? still + 1 : 0;
      before = sent;
      return sent > 0 && still > 40;
    },
    "a stop",
    20_000,
  );
  expect(sent).toBeLessThan(BLOCKS / 2);
  let received = 0;
  const masked = Buffer.from(line.replace(SECRET, STARS));
  for await (const chunk of response as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; ) {
      const from = received % masked.length;
      const length = Math.min(masked.length - from, chunk.length - at);
      if (masked.compare(chunk, at, at + length, from, from + length) !== 0) {
        throw new Error(`wrong at ${received}: ${chunk.toString("latin1", at, at + length)}`);
      }
      at += length;
      received += length;
    }
  }
  expect(received).toBe(BLOCKS * block.length);
});
