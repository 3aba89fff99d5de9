/**
 * Random secrets, in random spellings, places and cuts of a response: none reaches the client of a service with `scrubBodies`.
 * `FUZZ_CASES` and `FUZZ_SEED` change the length and the cases of a run.
 */
import { createServer, type Socket } from "node:net";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { maskSlowly, patternsOf, someCopyOf } from "../support/secret-spellings.ts";

const CASES = Number(process.env.FUZZ_CASES ?? 60);
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_129);

const SECRET = 'k7%2"/+Zq \\u0041=&x';
const patterns = patternsOf(SECRET);

const responses = fc.record({
  body: fc
    .array(fc.oneof({ weight: 2, arbitrary: someCopyOf(SECRET) }, fc.string({ maxLength: 40 })), { maxLength: 6 })
    .map((parts) => Buffer.from(parts.join(""), "utf8").toString("latin1")),
  framing: fc.constantFrom("length", "chunks", "close"),
  type: fc.constantFrom("Content-Type: text/html\r\n", "Content-Type: application/json\r\n", ""),
  /** Lengths of the chunks and of the writes. */
  pieces: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
});

/** In pieces of these lengths, again and again. */
function split(text: string, lengths: readonly number[]): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = lengths[found.length % lengths.length] as number;
    found.push(text.slice(at, at + length));
    at += length;
  }
  return found;
}

function bytesOf({ body, framing, type, pieces }: typeof responses extends fc.Arbitrary<infer T> ? T : never): string {
  const head = `HTTP/1.1 200 OK\r\n${type}`;
  if (framing === "length") return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  if (framing === "close") return `${head}\r\n${body}`;
  const chunks = split(body, pieces).map((one) => `${one.length.toString(16)}\r\n${one}\r\n`);
  return `${head}Transfer-Encoding: chunked\r\n\r\n${chunks.join("")}0\r\n\r\n`;
}

/** Each piece is a write of its own, in a later turn of the event loop. */
async function writeInPieces(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    socket.write(Buffer.from(piece, "latin1"));
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
}

test("No copy of the secret reaches the client, and everything else does", { timeout: 600_000 }, async () => {
  let pieces: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => void writeInPieces(socket, pieces));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "S" } as const;
  const services = { api: { baseUrl: `http://127.0.0.1:${port}`, auth, scrubBodies: true } };
  const gateway = await startGateway({ env: { S: SECRET, PROXY_API_KEY: PROXY_KEY }, services });
  // HTTP/1.0: the body arrives without chunks.
  const request = `GET /proxy/api/ HTTP/1.0\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
  const property = fc.asyncProperty(responses, async (response) => {
    pieces = split(bytesOf(response), response.pieces);
    const { body, status } = await rawRequest(gateway.port, request, { withinMs: 20_000 });
    expect([status, body]).toEqual([200, maskSlowly(response.body, patterns)]);
  });
  await fc.assert(property, { numRuns: CASES, seed: SEED });
});
