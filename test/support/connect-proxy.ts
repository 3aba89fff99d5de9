/** An HTTP proxy for tests that knows CONNECT only, and records what it sees. */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface ConnectRequest {
  /** The first line. */
  readonly line: string;
  readonly head: string;
  /** What the client sent through the tunnel, as latin1. */
  tunneled: string;
}

export interface ConnectProxy {
  readonly port: number;
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly requests: ConnectRequest[];
  /** Sockets of clients that are open now. */
  readonly sockets: Set<Socket>;
  /** Decides what happens after the head of a CONNECT; a tunnel by default. May be changed during a test. */
  answer: (socket: Socket, request: ConnectRequest) => void;
}

export interface ConnectProxySetup {
  /** Demanded as `Proxy-Authorization`. */
  readonly credential?: string;
  /** The local port for an authority such as `api.example:443`; by default the port that it names. */
  readonly portOf?: (authority: string) => number;
  /** A TLS server, for an https:// proxy. */
  readonly server?: Server;
}

export async function startConnectProxy(setup: ConnectProxySetup = {}): Promise<ConnectProxy> {
  const { credential, portOf = (authority) => Number(authority.split(":").at(-1)), server = createServer() } = setup;
  const requests: ConnectRequest[] = [];
  const sockets = new Set<Socket>();
  const expected = credential && `Basic ${Buffer.from(credential).toString("base64")}`;
  const proxy = {
    requests,
    sockets,
    answer(socket: Socket, request: ConnectRequest) {
      const given = /^proxy-authorization: (.*)$/im.exec(request.head)?.[1];
      if (given !== expected) {
        return void socket.end(
          'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="p"\r\nContent-Length: 0\r\n\r\n',
        );
      }
      openTunnel(socket, request, portOf);
    },
  };
  server.on(
    server.listenerCount("secureConnection") > 0 || "setSecureContext" in server ? "secureConnection" : "connection",
    (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket)).on("error", () => {});
      let received = "";
      const onData = (chunk: Buffer) => {
        received += chunk.toString("latin1");
        const end = received.indexOf("\r\n\r\n");
        if (end === -1) return;
        socket.off("data", onData);
        const request = { line: received.split("\r\n", 1)[0] as string, head: received.slice(0, end), tunneled: "" };
        requests.push(request);
        proxy.answer(socket, request);
      };
      socket.on("data", onData);
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  return Object.assign(proxy, { port, url: `http://127.0.0.1:${port}` });
}

function openTunnel(socket: Socket, request: ConnectRequest, portOf: (authority: string) => number): void {
  const authority = request.line.split(" ")[1] as string;
  const upstream = connect(portOf(authority), "127.0.0.1", () => {
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    socket.on("data", (chunk) => {
      request.tunneled += chunk.toString("latin1");
      upstream.write(chunk);
    });
    upstream.pipe(socket);
  });
  socket.on("close", () => upstream.destroy()).on("end", () => upstream.end());
  upstream.on("error", () => socket.destroy()).on("close", () => socket.end());
}
