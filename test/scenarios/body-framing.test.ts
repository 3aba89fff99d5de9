/** Every method may have a body: it arrives whole, framed once, with the framing that the client used. */
import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

async function send(method: string, headers: string, body: string) {
  let seen: unknown;
  const upstream = await startUpstream(async (req, res) => {
    const { "content-length": length, "transfer-encoding": coding } = req.headers;
    seen = { method: req.method, sum: sha256(await bodyOf(req)), length, coding };
    res.end();
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const head = `${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n\r\n`;
  const response = await rawRequest(gateway.port, head + body);
  expect([response.status, upstream.requests.length]).toEqual([200, 1]);
  return seen;
}

describe.each(["GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"])("body of %s", (method) => {
  // Small bodies are buffered, large ones streamed.
  test.each([1, 4, 65_536, 65_537, 300_000])(
    "A body with a Content-Length of %i arrives with that length",
    async (size) => {
      const body = randomBytes(size);
      const seen = await send(method, `Content-Length: ${size}`, body.toString("latin1"));
      expect(seen).toEqual({ method, sum: sha256(body), length: String(size), coding: undefined });
    },
  );

  test.each([4, 300_000])("A chunked body of %i bytes arrives chunked", async (size) => {
    const body = randomBytes(size);
    const chunk = `${size.toString(16)};ext="a b"\r\n${body.toString("latin1")}\r\n`;
    const seen = await send(method, "Transfer-Encoding: chunked", `${chunk}0\r\nX-Trailer: dropped\r\n\r\n`);
    expect(seen).toEqual({ method, sum: sha256(body), length: undefined, coding: "chunked" });
  });

  test.each([
    ["Content-Length: 0", ""],
    ["Content-Length: 00", ""],
    ["Transfer-Encoding: chunked", "0\r\n\r\n"],
    ["X-No: framing", ""],
  ])("A request without a body, announced by %s, arrives without one", async (headers, body) => {
    const { sum, length, coding } = (await send(method, headers, body)) as Record<string, unknown>;
    expect(sum).toBe(sha256(Buffer.alloc(0)));
    // For an empty stream undici sends a length of 0 or no framing header.
    expect([undefined, "0", "chunked"]).toContain(length ?? coding);
  });
});
