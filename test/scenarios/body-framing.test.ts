/** Every method may have a body: it arrives whole, framed once, as it was announced. */
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
  const answer = await rawRequest(gateway.port, head + body);
  expect([answer.status, upstream.requests.length]).toEqual([200, 1]);
  return seen;
}

describe.each(["GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH"])("%s", (method) => {
  // In hand, and streamed.
  test.each([1, 4, 65_536, 65_537, 300_000])("with a length of %i keeps it", async (size) => {
    const body = randomBytes(size);
    const seen = await send(method, `Content-Length: ${size}`, body.toString("latin1"));
    expect(seen).toEqual({ method, sum: sha256(body), length: String(size), coding: undefined });
  });

  test.each([4, 300_000])("in chunks of %i in all stays in chunks", async (size) => {
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
  ])("with no body, said by %s, has none", async (headers, body) => {
    const { sum, length, coding } = (await send(method, headers, body)) as Record<string, unknown>;
    expect(sum).toBe(sha256(Buffer.alloc(0)));
    // undici says the same of an empty stream by a length of 0, or by nothing.
    expect([undefined, "0", "chunked"]).toContain(length ?? coding);
  });
});
