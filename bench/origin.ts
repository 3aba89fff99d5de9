/**
 * The upstream of the benchmark: a small JSON response with the headers of a real API, and the routes for the extras.
 * It is as cheap as node:http allows, because it shares two cores with the measured process.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { announce } from "./announce.ts";

const ITEM = Buffer.from(
  JSON.stringify({
    id: 42,
    name: "An item of ordinary size",
    tags: ["alpha", "beta", "gamma"],
    owner: { id: 7, login: "octocat", url: "https://api.example.com/users/octocat" },
    description: "word ".repeat(150).trim(),
    createdAt: "2026-01-01T00:00:00Z",
    updatedAt: "2026-01-02T03:04:05Z",
  }),
);
const ITEM_HEADERS = {
  "Content-Type": "application/json; charset=utf-8",
  "Content-Length": ITEM.length,
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
const BLOCK = Buffer.alloc(64 * 1024, "x");
const openStreams = new Set<ServerResponse>();
const openWebSockets = new Set<Duplex>();
/** The clients of the benchmark do not check it. */
const ACCEPTANCE = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
/** A text frame. */
const WAKE_FRAME = Buffer.from([0x81, 4, ...Buffer.from("wake")]);

const server = createServer((req, res) => {
  const url = req.url ?? "/";
  if (url.startsWith("/items/")) return void res.writeHead(200, ITEM_HEADERS).end(ITEM);
  if (url === "/upload") return swallow(req, res);
  if (url.startsWith("/download/")) return pour(res, Number(url.slice("/download/".length)));
  if (url === "/events") return openStream(res);
  if (url === "/events/wake") return wakeStreams(res);
  if (url === "/websockets/wake") return wakeWebSockets(res);
  if (url === "/seen") return respond(res, { authorization: req.headers.authorization ?? null });
  res.writeHead(404).end();
});

server.on("upgrade", (_, socket: Duplex) => {
  openWebSockets.add(socket);
  socket.on("error", () => socket.destroy());
  socket.on("end", () => socket.end());
  socket.on("close", () => openWebSockets.delete(socket));
  socket.resume();
  socket.write(ACCEPTANCE);
});

function respond(res: ServerResponse, body: unknown): void {
  res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
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

function openStream(res: ServerResponse): void {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  res.flushHeaders();
  openStreams.add(res);
  res.on("close", () => openStreams.delete(res));
}

/** Sends one event to every stream: its arrival proves that the stream was still open. */
function wakeStreams(res: ServerResponse): void {
  for (const stream of openStreams) stream.write("data: wake\n\n");
  respond(res, { open: openStreams.size });
}

function wakeWebSockets(res: ServerResponse): void {
  for (const socket of openWebSockets) socket.write(WAKE_FRAME);
  respond(res, { open: openWebSockets.size });
}

announce(server);
