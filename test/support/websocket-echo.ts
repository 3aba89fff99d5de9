/** A WebSocket server for tests. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { WebSocketServer } from "ws";

export interface WebSocketEcho {
  readonly url: string;
  /** Handshakes that it received, newest last. */
  readonly requests: IncomingMessage[];
  readonly server: WebSocketServer;
}

/** Starts a server that returns each message to its sender. */
export async function startWebSocketEcho(): Promise<WebSocketEcho> {
  const http = createServer((_, res) => res.end("no WebSocket"));
  const server = new WebSocketServer({ server: http, maxPayload: 1 << 30 });
  const requests: IncomingMessage[] = [];
  server.on("connection", (socket, request) => {
    requests.push(request);
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const client of server.clients) client.terminate();
    http.close();
    http.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, requests, server };
}
