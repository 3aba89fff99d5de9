/**
 * The upstream of the benchmark: the workloads' responses, with the headers of a real API, and the routes for the extras.
 * It is as cheap as node:http allows, because it shares two cores with the measured process.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { announce, createHttpServer } from "./announce.ts";
import { createStreams } from "./origin-streams.ts";
import { createWebSockets } from "./origin-websockets.ts";
import { createDocument, createItem, DOCUMENT_COUNT, ITEM_COUNT } from "./workloads/contents.ts";

const items = Array.from({ length: ITEM_COUNT }, (_, id) => createItem(id));
const ITEM_HEADERS = {
  "Cache-Control": "private, max-age=60, s-maxage=60",
  ETag: 'W/"4f2a9b0c6d1e8f7a"',
  "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
  Vary: "Accept, Authorization, Accept-Encoding",
  "X-RateLimit-Limit": "5000",
  "X-RateLimit-Remaining": "4987",
  "X-RateLimit-Reset": "1767326645",
  "X-Request-Id": "3f0c2f0a-7d55-4a53-9f0e-0d8f5a2f5b11",
  "Strict-Transport-Security": "max-age=31536000; includeSubdomains; preload",
  "X-Content-Type-Options": "nosniff",
  Server: "origin",
};
const itemHeaders = items.map((item) => ({
  "Content-Type": "application/json; charset=utf-8",
  "Content-Length": item.length,
  ...ITEM_HEADERS,
}));
const cacheableHeaders = itemHeaders.map((headers) => ({ ...headers, "Cache-Control": "max-age=3600" }));
const documents = Array.from({ length: DOCUMENT_COUNT }, (_, number) => createDocument(number));
const documentHeaders = { ...itemHeaders[0], "Content-Length": documents[0]?.length };
const BLOCK = Buffer.alloc(64 * 1024, "x");
const streams = createStreams();
const webSockets = createWebSockets();

const server = createHttpServer(onRequest);
// While other contestants are measured, the connections of a contestant stay open: a POST on a connection that closes would fail.
server.keepAliveTimeout = 600_000;
server.on("upgrade", onUpgrade);
announce(server);

function onRequest(req: IncomingMessage, res: ServerResponse): void {
  const url = req.url ?? "/";
  if (url.startsWith("/items/")) return sendItem(res, Number.parseInt(url.slice("/items/".length), 10), itemHeaders);
  if (url.startsWith("/cacheable/")) return sendItem(res, Number(url.slice("/cacheable/".length)), cacheableHeaders);
  if (url.startsWith("/documents/")) return sendDocument(res, Number(url.slice("/documents/".length)));
  if (url === "/echo") return echo(req, res);
  if (url.startsWith("/streams/")) return streams.openNumbered(Number(url.slice("/streams/".length)), res);
  if (url === "/upload") return swallow(req, res);
  if (url.startsWith("/download/")) return pour(res, Number(url.slice("/download/".length)));
  if (url.startsWith("/chunks/")) return pourChunks(req, url);
  if (url === "/events") return streams.openSilent(res);
  if (url === "/events/wake") return respond(res, { open: streams.wake() });
  if (url === "/websockets/wake") return respond(res, { open: webSockets.wake() });
  if (url === "/seen") return respond(res, { authorization: req.headers.authorization ?? null });
  res.writeHead(404).end();
}

function onUpgrade({ url }: IncomingMessage, socket: Duplex): void {
  socket.on("error", () => socket.destroy());
  socket.on("end", () => socket.end());
  if (url === "/streams/next") streams.sendOnRequest(socket);
  else if (url === "/websockets/echo") webSockets.openEcho(socket);
  else webSockets.openIdle(socket);
}

function sendItem(res: ServerResponse, id: number, headers: typeof itemHeaders): void {
  res.writeHead(200, headers[id]).end(items[id]);
}

function sendDocument(res: ServerResponse, number: number): void {
  res.writeHead(200, documentHeaders).end(documents[number]);
}

function respond(res: ServerResponse, body: unknown): void {
  res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

function echo(req: IncomingMessage, res: ServerResponse): void {
  const length = req.headers["content-length"];
  if (length === undefined) return void res.writeHead(411).end();
  res.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": length });
  req.on("data", (chunk: Buffer) => res.write(chunk));
  req.on("end", () => res.end());
}

function swallow(req: IncomingMessage, res: ServerResponse): void {
  let bytes = 0;
  req.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  req.on("end", () => respond(res, { bytes }));
}

function pour(res: ServerResponse, bytes: number): void {
  res.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": bytes });
  let left = bytes;
  const write = () => {
    while (left > 0) {
      const block = left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK;
      left -= block.length;
      if (!res.write(block)) return void res.once("drain", write);
    }
    res.end();
  };
  write();
}

/** `/chunks/<total>/<size>`: sends `total` bytes in chunks of `size`. It writes to the socket, because 16 Mi calls of `res.write` take long. */
function pourChunks({ socket }: IncomingMessage, url: string): void {
  const [total, size] = url.split("/").slice(2).map(Number) as [number, number];
  const chunk = Buffer.from(`${size.toString(16)}\r\n${"x".repeat(size)}\r\n`);
  const perWrite = Math.max(1, Math.floor(BLOCK.length / chunk.length));
  const chunks = Buffer.concat(new Array<Buffer>(perWrite).fill(chunk));
  let left = total / size;
  const write = () => {
    while (left > 0) {
      const count = Math.min(left, perWrite);
      left -= count;
      if (!socket.write(chunks.subarray(0, count * chunk.length))) return void socket.once("drain", write);
    }
    socket.end("0\r\n\r\n");
  };
  socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
  write();
}
