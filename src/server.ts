/**
 * The listener, and the fork between the planes: `/proxy/<service>`, and everything that was sent to a service's own host or port, goes
 * to the data plane, everything else to the control plane.
 * Invariant: a message that the parser refuses gets a response in the gateway's own form too, or its connection is closed.
 */
import { type IncomingMessage, ServerResponse } from "node:http";
import { createServer as createNetServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import type { ServiceAddress } from "./config/service-addresses.ts";
import { GatewayError } from "./errors.ts";
import { createAnswerOrder } from "./perimeter/answer-order.ts";
import { type ConnectionLimits, type Connections, createConnections } from "./perimeter/connections.ts";
import { drainListener } from "./perimeter/drain-listener.ts";
import { endListeners, stopListeners } from "./perimeter/end-listeners.ts";
import { findMalformed, hasBody, isWebSocketUpgrade, methodRefused } from "./perimeter/framing.ts";
import { createSessions, type Sessions } from "./perimeter/http2/sessions.ts";
import { StreamResponse } from "./perimeter/http2/stream-response.ts";
import { discardUnread, linger, lingerBeforeClose } from "./perimeter/linger.ts";
import { reportMalformedRest } from "./perimeter/malformed-rest.ts";
import { type OpenListener, openListeners } from "./perimeter/open-listeners.ts";
import {
  type ClientRequest,
  createParser,
  isProxied,
  originOfOverflow,
  type ParserError,
  type ParserTimes,
  parserRefusal,
  SOCKET_OPTIONS,
} from "./perimeter/parser.ts";
import { createEarlyRefusals, type EarlyRefusalParts } from "./perimeter/refusals.ts";
import { createTlsAcceptor, type TlsIdentity } from "./perimeter/tls-acceptor.ts";

/** How a request reached the gateway. */
export interface Arrival {
  /** Of the listener that accepted it. */
  readonly connections: Connections;
  /** The service's own host or port to which it was sent. */
  readonly address: ServiceAddress | undefined;
  readonly isUpgrade: boolean;
}

/** @param head of a WebSocket handshake: the bytes that the client sent after it. */
type DataPlane = (req: IncomingMessage, res: ServerResponse, arrival: Arrival, head?: Buffer) => Promise<void>;

export interface ServerParts extends EarlyRefusalParts {
  readonly times: ParserTimes;
  readonly limits: ConnectionLimits;
  /** Undefined for plain HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** Undefined for a listener for operators only. */
  readonly dataPlane: DataPlane | undefined;
  /** The service's own host or port to which a request was sent; undefined for an address of the gateway. */
  readonly addressOf: (req: IncomingMessage) => ServiceAddress | undefined;
  /** The control plane's `fetch`. */
  readonly controlPlane: Parameters<typeof getRequestListener>[0];
}

/** How long a WebSocket handshake waits for the response to the request before it to begin, ms. */
const LATE_HANDSHAKE_MS = 2_000;

/** One listener and its client sockets. */
export interface GatewayServer {
  readonly connections: Connections;
  /** Resolves to its URLs. @throws node:net's error: port in use, no such address. */
  listen(port: number, host: string): Promise<readonly string[]>;
  /** Empty while the server does not listen. */
  boundTo(): readonly { readonly address: string; readonly port: number }[];
  /** Notifies clients of HTTP/2 that the gateway will end; those of HTTP/1.1 learn it from their next response. */
  announceEnd(): void;
  /** Waits, for milliseconds, until no client is in the accept queue. */
  stopListening(): Promise<void>;
  /** Stops listening at once and gives requests in flight `timeoutMs` to end. Resolves to the number of connections that had to be cut. */
  close(timeoutMs: number): Promise<number>;
}

export function createGatewayServer(parts: ServerParts): GatewayServer {
  const { dataPlane, addressOf } = parts;
  const refusals = createEarlyRefusals(parts);
  const controlPlane = getRequestListener(parts.controlPlane, {
    overrideGlobalObjects: false,
    // `discardRest` does it: this would end an upload after half a second, before its client reads the response.
    autoCleanupIncoming: false,
    // For HTTP/1.0 without a Host, which load balancers use for health checks.
    hostname: "localhost",
    // Called for targets that are no valid URL, such as `/\\host`.
    errorHandler: () => refusals.response(new GatewayError("INVALID_PATH")),
  });
  const order = createAnswerOrder();
  const failed = new WeakSet<Duplex>();
  const upgraded = new WeakSet<Duplex>();

  /** Set while the server waits for the moment to stop listening. */
  let pause: Promise<void> | undefined;
  /** Set once the server no longer listens: resolves when its last connection has ended. */
  let closed: Promise<void> | undefined;

  const isBusy = (socket: Duplex) => !(order.lastOf(socket)?.closed ?? true);
  const server = createParser(parts.times, (req, res) => order.serveInOrder(req, res, admit), {
    isForDataPlane: (req) => isProxied(req.url as string, addressOf(req)),
    isLate: isLateHandshake,
  });
  server.on("checkExpectation", (req: IncomingMessage, res: ServerResponse) =>
    order.serveInOrder(req, res, () => refusals.send(req, res, new GatewayError("EXPECTATION_FAILED"))),
  );
  server.on("connect", onConnect);
  server.on("clientError", onClientError);
  // Without a listener node:http treats no request as an upgrade.
  if (dataPlane !== undefined) server.on("upgrade", onUpgrade);
  const listener = parts.tls === undefined ? server : createNetServer(SOCKET_OPTIONS);
  // Its sockets are served, and counted, as those of the first.
  const second = createNetServer(SOCKET_OPTIONS, (socket) => listener.emit("connection", socket));
  let opened: readonly OpenListener[] = [];
  const isListening = () => opened.some(({ server }) => server.listening);
  const connections = createConnections(listener, parts.limits, (socket) => {
    return upgraded.has(socket) || sessions?.has(socket) ? false : order.lastOf(socket)?.closed;
  });
  /** Of HTTP/2; undefined without TLS. */
  let sessions: Sessions | undefined;
  // node:http's own method would destroy a socket during a response, and leave a never-used one open.
  server.closeIdleConnections = connections.closeIdle;
  if (parts.tls !== undefined) acceptTls(parts.tls);
  return {
    connections,
    async listen(port, host) {
      opened = await openListeners([listener, second], port, host);
      // As node:http does it for its own sockets: the caps count both.
      second.maxConnections = listener.maxConnections;
      const scheme = parts.tls === undefined ? "http" : "https";
      return opened.map(({ host, port }) => `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`);
    },
    boundTo: () => opened.filter(({ server }) => server.listening),
    announceEnd: () => sessions?.announceEnd(),
    async stopListening() {
      if (!isListening()) return;
      connections.isEnding = true;
      pause = drainListener(listener);
      await pause;
      pause = undefined;
      stop();
    },
    async close(timeoutMs) {
      if (closed === undefined && !isListening()) return 0;
      connections.isEnding = true;
      return endListeners(closed ?? stop(), connections, timeoutMs);
    },
  };

  function stop(): Promise<void> {
    sessions?.end();
    closed ??= stopListeners(opened, server);
    return closed;
  }

  /** node:http serves the secure sockets as it serves plain ones: all its limits and guards are the same. */
  function acceptTls(identity: TlsIdentity): void {
    const http2 = createSessions({
      times: parts.times,
      sendTimeoutMs: parts.limits.sendTimeoutMs,
      logger: parts.logger,
      isSurplus: connections.isSurplus,
      serve: admitStream,
    });
    sessions = http2;
    listener.once("close", http2.stop);
    const accept = createTlsAcceptor({
      identity,
      handshakeTimeoutMs: parts.times.headersTimeoutMs,
      protocols: ["h2", "http/1.1"],
      logger: parts.logger,
      onSecure(socket) {
        connections.secure(socket);
        if (socket.alpnProtocol === "h2") http2.accept(socket);
        else server.emit("connection", socket);
      },
      onPlain: (socket) => refusals.write(socket, new GatewayError("INVALID_REQUEST", PLAIN_ON_TLS)),
    });
    // One over all caps is closed already.
    listener.on("connection", (socket: Socket) => void (socket.destroyed || accept(socket)));
    // node:http begins to check for late heads when it listens.
    listener.once("listening", () => server.emit("listening"));
  }

  /** While the server waits to stop listening, requests wait too: a client that waits for a response opens no further connection. */
  function admit(req: IncomingMessage, res: ServerResponse): void {
    if (pause === undefined) serve(req, res);
    else void pause.then(() => (req.socket.destroyed ? undefined : serve(req, res)));
  }

  /** A request that came on a stream of HTTP/2. Streams have no order among them. */
  function admitStream(req: IncomingMessage, res: ServerResponse, malformed: GatewayError | undefined): void {
    const { expect } = req.headers;
    const isExpected = expect === undefined || expect.toLowerCase() === "100-continue";
    if (malformed !== undefined) refusals.send(req, res, malformed);
    else if (!isExpected) refusals.send(req, res, new GatewayError("EXPECTATION_FAILED"));
    else if (!isWebSocketUpgrade(req)) admit(req, res);
    else if (dataPlane !== undefined && isProxied(req.url as string, addressOf(req))) {
      proxy(req, res, addressOf(req), NO_BYTES);
    }
    // Any response of success would open a tunnel.
    else refusals.send(req, res, methodRefused("CONNECT"));
  }

  function serve(req: IncomingMessage, res: ServerResponse): void {
    const address = addressOf(req);
    const isForCallers = isProxied(req.url as string, address);
    if (isForCallers && dataPlane !== undefined) return proxy(req, res, address);
    const malformed = findMalformed(req) ?? (address === undefined ? undefined : new GatewayError("NOT_FOUND"));
    if (malformed !== undefined) return refusals.send(req, res, malformed);
    if (connections.isSurplus(req.socket)) res.shouldKeepAlive = false;
    // Before node:http's own listener, which may close the connection.
    if (hasBody(req)) res.prependOnceListener("finish", () => discardUnread(req));
    void controlPlane(req, res);
  }

  function proxy(req: IncomingMessage, res: ServerResponse, address: ServiceAddress | undefined, head?: Buffer): void {
    (req as ClientRequest).isProxied = true;
    const arrival = { connections, address, isUpgrade: head !== undefined };
    // The data plane handles its own errors; one that escapes ends this connection, not the process.
    dataPlane?.(req, res, arrival, head).catch((error: unknown) => {
      parts.logger.error({ err: error }, "an exchange failed with an unhandled error");
      if (res instanceof StreamResponse) res.destroy();
      else req.socket.destroy();
    });
  }

  /** A handshake is the last request of its connection: if the response to the one before it does not begin soon, both are dropped. */
  function isLateHandshake(socket: Socket): boolean {
    if (!isBusy(socket)) return false;
    const { bytesWritten } = socket;
    setTimeout(() => void (socket.bytesWritten === bytesWritten && socket.destroy()), LATE_HANDSHAKE_MS).unref();
    return true;
  }

  /** node:http has detached the socket, but a refused upgrade is a normal response, the last one on its connection. */
  function onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    upgraded.add(socket);
    socket.on("error", () => socket.destroy());
    const res = new ServerResponse(req);
    res.shouldKeepAlive = false;
    res.assignSocket(socket as Socket);
    res.once("finish", () => linger(socket));
    // The socket reports nothing to this response, and its "end" comes once, even while nothing reads it.
    socket.once("end", () => void (res.socket === socket && !res.writableEnded && socket.destroy()));
    proxy(req, res, addressOf(req), head);
  }

  /** node:http has detached the socket: a response that is still pending on it can neither be sent nor awaited. */
  function onConnect(req: IncomingMessage, socket: Duplex): void {
    if (!isBusy(socket)) refusals.write(socket, methodRefused("CONNECT"), req);
    else socket.destroy();
  }

  /** The response to a parse error must not be written into, or before, another response on the same connection. */
  function onClientError(error: ParserError, socket: Duplex): void {
    // The parser fails again with every chunk that follows.
    if (failed.has(socket)) return;
    failed.add(socket);
    const last = order.lastOf(socket);
    if (error.code === "ECONNRESET") socket.destroy();
    else if (last === undefined || last.closed) refuseUnread(socket, error);
    // Refused already, by the handler that runs before the parser's own check: let that response out.
    else if (last.writableEnded) {
      lingerBeforeClose(last.req);
      (socket as Socket).destroySoon();
    }
    // The malformed message is the one after this request.
    else if (last.req.complete) last.once("close", () => refuseUnread(socket, error));
    else refuseRest(last, socket, error);
  }

  /** The rest of this request is malformed, or its client has ended it. */
  function refuseRest(last: ServerResponse, socket: Duplex, { code }: ParserError): void {
    const { req } = last;
    const refusal = parserRefusal(code);
    // Not before the responses to the requests before it.
    if (order.refuseWaiting(socket, () => refusals.send(req, last, refusal))) return;
    if (code === "HPE_INVALID_EOF_STATE") socket.destroy();
    // Its exchange refuses it, or cuts off a response that has begun.
    else if ((req as ClientRequest).isProxied) reportMalformedRest(req, refusal);
    else if (!last.headersSent) refusals.write(socket, refusal, req);
    else socket.destroy();
  }

  function refuseUnread(socket: Duplex, error: ParserError): void {
    refusals.write(socket, parserRefusal(error.code), undefined, originOfOverflow(error));
  }
}

const NO_BYTES = Buffer.alloc(0);

const PLAIN_ON_TLS = {
  message: "A plain HTTP request was sent to an HTTPS port.",
  hint: "Begin the URL with https://.",
};
