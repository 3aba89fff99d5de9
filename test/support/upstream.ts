/** Upstreams for tests: one that speaks HTTP, and one that sends raw bytes. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface TestUpstream {
  readonly url: string;
  readonly port: number;
  /** Requests that it received, newest last. */
  readonly requests: IncomingMessage[];
  /** Sockets that are open now. */
  readonly sockets: Set<Socket>;
}

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

const ok: Handler = (req, res) => {
  req.resume();
  res.setHeader("content-type", "text/plain");
  res.end("ok");
};

export async function startUpstream(handler: Handler = ok, server: Server = createServer()): Promise<TestUpstream> {
  const requests: IncomingMessage[] = [];
  const onRequest: Handler = (req, res) => {
    requests.push(req);
    handler(req, res);
  };
  server.on("request", onRequest);
  server.on("checkContinue", onRequest);
  const sockets = trackSockets(server);
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}`, port, requests, sockets };
}

export interface RawUpstream {
  readonly url: string;
  readonly port: number;
  /** All bytes received, by connection, as latin1. */
  readonly received: string[];
  readonly sockets: Set<Socket>;
}

/** @param onData called for each chunk, with all bytes that this connection has sent so far. */
export async function startRawUpstream(onData: (socket: Socket, received: string) => void): Promise<RawUpstream> {
  const received: string[] = [];
  const server = createTcpServer((socket) => {
    const index = received.push("") - 1;
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received[index] += chunk.toString("latin1");
      onData(socket, received[index] as string);
    });
  });
  const sockets = trackSockets(server);
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}`, port, received, sockets };
}

/** Responds to every request head with these bytes; `then` says what happens to the socket afterwards. */
export function respondWith(bytes: string, then: "keep" | "end" | "reset" = "keep") {
  return (socket: Socket, received: string) => {
    if (!received.endsWith("\r\n\r\n")) return;
    socket.write(Buffer.from(bytes, "latin1"), () => {
      if (then === "end") socket.end();
      if (then === "reset") setTimeout(() => socket.resetAndDestroy(), 20);
    });
  };
}

function trackSockets(server: { on(event: "connection", listener: (socket: Socket) => void): unknown }): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  return sockets;
}

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    if ("closeAllConnections" in server) server.closeAllConnections();
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 100))]);
  });
  return (server.address() as AddressInfo).port;
}

/** Reads a whole body. */
export async function bodyOf(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
