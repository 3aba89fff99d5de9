/**
 * The listener and the fork: `/proxy/<service>` to the data plane, everything else to the control plane.
 * Invariant: what the parser itself refuses is answered in the gateway's own form too, or the connection is cut.
 */
import { type IncomingMessage, type Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { GatewayError } from "./errors.ts";
import { createAnswerOrder } from "./perimeter/answer-order.ts";
import { isProxied } from "./perimeter/client-request.ts";
import { type ConnectionLimits, type Connections, createConnections } from "./perimeter/connections.ts";
import { createEarlyRefusals, type EarlyRefusalParts } from "./perimeter/early-refusals.ts";
import { emptyQueue } from "./perimeter/empty-queue.ts";
import { findMalformed, hasBody, methodRefused } from "./perimeter/framing.ts";
import { discardRest, linger } from "./perimeter/linger.ts";
import {
  createParser,
  originOfOverflow,
  type ParserError,
  type ParserTimes,
  parserRefusal,
} from "./perimeter/parser.ts";

/** @param head of a WebSocket handshake: what the client sent behind it. */
type DataPlane = (req: IncomingMessage, res: ServerResponse, connections: Connections, head?: Buffer) => Promise<void>;

export interface ServerParts extends EarlyRefusalParts {
  readonly times: ParserTimes;
  readonly limits: ConnectionLimits;
  /** Undefined for a listener that is for operators only. */
  readonly dataPlane: DataPlane | undefined;
  /** The control plane's `fetch`. */
  readonly controlPlane: Parameters<typeof getRequestListener>[0];
}

/** How often connections that have become idle are closed while draining, ms. */
const IDLE_SWEEP_MS = 20;

/** One listener and its client sockets. */
export interface GatewayServer {
  readonly connections: Connections;
  /** Resolves to its URL. @throws what node:net raised: port in use, no such address. */
  listen(port: number, host: string): Promise<string>;
  /** Undefined while it does not listen. */
  boundTo(): { readonly address: string; readonly port: number } | undefined;
  /** Once nobody is half-way in: a matter of milliseconds. */
  stopListening(): Promise<void>;
  /** Ends the listener at once and, within `timeoutMs`, what is in flight. Resolves to the number of connections that had to be cut. */
  close(timeoutMs: number): Promise<number>;
}

export function createGatewayServer(parts: ServerParts): GatewayServer {
  const { dataPlane } = parts;
  const refusals = createEarlyRefusals(parts);
  const controlPlane = getRequestListener(parts.controlPlane, {
    overrideGlobalObjects: false,
    // For HTTP/1.0 without a Host, as balancers check health.
    hostname: "localhost",
    // Asked for targets that no URL can be made of, such as `/\\host`.
    errorHandler: () => refusals.response(new GatewayError("INVALID_PATH")),
  });
  const order = createAnswerOrder();
  const failed = new WeakSet<Duplex>();
  const upgraded = new WeakSet<Duplex>();

  /** While the moment to stop listening is looked for. */
  let pause: Promise<void> | undefined;
  /** From when it does not listen any more: resolves when its last connection has ended. */
  let closed: Promise<void> | undefined;

  const server = createParser(parts.times, (req, res) => order.serveInTurn(req, res, admit));
  server.on("checkExpectation", (req: IncomingMessage, res: ServerResponse) =>
    order.serveInTurn(req, res, () => refusals.answer(req, res, new GatewayError("EXPECTATION_FAILED"))),
  );
  server.on("connect", onConnect);
  server.on("clientError", onClientError);
  // Without a listener node:http takes no upgrade at all.
  if (dataPlane !== undefined) server.on("upgrade", onUpgrade);
  const connections = createConnections(server, parts.limits, (socket) => {
    return upgraded.has(socket) ? false : order.lastOf(socket)?.closed;
  });
  return {
    connections,
    listen: (port, host) => listen(server, port, host),
    boundTo: () => (server.address() as AddressInfo | null) ?? undefined,
    async stopListening() {
      if (!server.listening) return;
      pause = emptyQueue(server);
      await pause;
      pause = undefined;
      closed ??= stop(server);
    },
    async close(timeoutMs) {
      if (closed === undefined && !server.listening) return 0;
      closed ??= stop(server);
      return end(closed, connections, timeoutMs);
    },
  };

  /** Who waits for an answer opens no further connection, so that the moment comes: it is a matter of milliseconds. */
  function admit(req: IncomingMessage, res: ServerResponse): void {
    if (pause === undefined) serve(req, res);
    else void pause.then(() => (req.socket.destroyed ? undefined : serve(req, res)));
  }

  function serve(req: IncomingMessage, res: ServerResponse): void {
    const url = req.url as string;
    if (isProxied(url) && dataPlane !== undefined) return proxy(req, res);
    const malformed = findMalformed(req);
    if (malformed !== undefined) return refusals.answer(req, res, malformed);
    if (connections.isSurplus(req.socket)) res.shouldKeepAlive = false;
    if (hasBody(req)) res.once("finish", () => discardRest(req));
    void controlPlane(req, res);
  }

  function proxy(req: IncomingMessage, res: ServerResponse, head?: Buffer): void {
    // It answers for its own errors; what escapes it all the same ends this connection, not the process.
    dataPlane?.(req, res, connections, head).catch((error: unknown) => {
      parts.logger.error({ err: error }, "an exchange was lost");
      req.socket.destroy();
    });
  }

  /** node:http has let go of the socket, but a refusal is an answer like any other, and the last one on it. */
  function onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    upgraded.add(socket);
    socket.on("error", () => socket.destroy());
    if (!(order.lastOf(socket)?.closed ?? true)) {
      socket.destroy();
      return;
    }
    const res = new ServerResponse(req);
    res.shouldKeepAlive = false;
    res.assignSocket(socket as Socket);
    res.once("finish", () => linger(socket));
    proxy(req, res, head);
  }

  /** node:http has let go of the socket: an answer that is still to come on it could neither be sent nor waited for. */
  function onConnect(req: IncomingMessage, socket: Duplex): void {
    if (order.lastOf(socket)?.closed ?? true) refusals.write(socket, methodRefused("CONNECT"), req);
    else socket.destroy();
  }

  /** A parse error must not be answered into the middle of, or in front of, another answer on the same connection. */
  function onClientError(error: ParserError, socket: Duplex): void {
    // The parser fails anew with every chunk that follows.
    if (failed.has(socket)) return;
    failed.add(socket);
    const last = order.lastOf(socket);
    if (error.code === "ECONNRESET") socket.destroy();
    else if (last === undefined || last.closed) refuseUnread(socket, error);
    // Refused already, by the handler that runs before the parser's own check: let that answer out.
    else if (last.writableEnded) (socket as Socket).destroySoon();
    // What is broken is the message behind it.
    else if (last.req.complete) last.once("close", () => refuseUnread(socket, error));
    // Nothing of it went on to anybody: it can be answered for, where a body on its way to an upstream is cut off.
    else if (!last.headersSent && !isProxied(last.req.url as string)) {
      refusals.write(socket, parserRefusal(error.code), last.req);
    } else socket.destroy();
  }

  function refuseUnread(socket: Duplex, error: ParserError): void {
    refusals.write(socket, parserRefusal(error.code), undefined, originOfOverflow(error));
  }
}

function listen(server: Server, port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host }, () => {
      server.off("error", reject);
      const { port: real } = server.address() as AddressInfo;
      resolve(`http://${host.includes(":") ? `[${host}]` : host}:${real}`);
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

async function end(closed: Promise<void>, connections: Connections, timeoutMs: number): Promise<number> {
  // stop() ended connections that were idle then; those that still answer become idle later and would be kept.
  const sweep = setInterval(() => connections.closeIdle(), IDLE_SWEEP_MS);
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<number>((resolve) => {
    timer = setTimeout(() => resolve(connections.count), timeoutMs);
  });
  const cut = await Promise.race([closed.then(() => 0), timeout]);
  clearTimeout(timer);
  clearInterval(sweep);
  connections.destroyAll();
  await closed;
  return cut;
}
