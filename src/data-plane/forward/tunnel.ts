/**
 * WebSockets: http-proxy-3 writes the handshake and joins the two sockets; in between, the transport sends it and reads the response.
 * Invariant: nothing that http-proxy-3 throws or emits escapes, and it sees no byte of a response.
 */
import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { createProxyServer, type ServerOptions } from "http-proxy-3";
import type { Callers } from "../../callers/callers.ts";
import type { FoundKey } from "../../callers/key-index.ts";
import { LONGEST_TIMER_MS } from "../../config/schema.ts";
import { createStallSweep } from "../../perimeter/stall-sweep.ts";
import type { OfferedSubprotocols } from "../credential/injectable-request.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { PreparedService } from "../prepared-service.ts";
import { createResponseHeaders } from "./answer-headers.ts";
import { type AttemptOutcome, enterBreaker, NO_PASS, settleBreaker } from "./breaker.ts";
import { CredentialUse } from "./credential-use.ts";
import type { ForwardParts } from "./forward.ts";
import { holdForQuota, reportToQuota } from "./quota-gate.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { UpstreamRequest } from "./upstream-request.ts";
import { type Accepted, shakeHands, type Upgrade } from "./websocket/handshake.ts";
import type { MessageInjection } from "./websocket/message-injection.ts";
import { OpenTunnel } from "./websocket/open-tunnel.ts";
import { Recorder } from "./websocket/recorder.ts";

export interface TunnelParts extends ForwardParts {
  readonly callers: Pick<Callers, "isKeyOf">;
}

export interface Tunnels {
  /** The number of open WebSockets. */
  readonly open: number;
  /** Resolves when the WebSocket or the upstream's refusal is over. @throws GatewayError while nothing of a response was sent. */
  run(upgrade: Upgrade, parts: TunnelParts): Promise<void>;
  /** Closes every WebSocket with 1001, now and from now on. */
  closeAll(): void;
  /** Closes the WebSockets of issued keys and tokens that ended or lost permissions. */
  closeOver(): void;
  /** Closes the WebSockets of a caller without an issued key. */
  closeOfCaller(id: string): void;
  /** Closes the WebSockets of clients on these sockets. */
  closeOfClients(isAmong: (socket: Socket) => boolean): void;
  /** Closes the WebSockets of a removed or replaced service. */
  closeOfService(service: PreparedService): void;
  /** Stops the check for stalled sockets. */
  close(): void;
}

const NO_BYTES = Buffer.alloc(0);

/** What http-proxy-3 contributes to a WebSocket. */
interface Prepared {
  /** The head of the request. */
  readonly upgradeHead: string;
  /** Writes the 101 with these headers to the client, and joins the sockets. */
  readonly join: (response: IncomingMessage, socket: Socket, head: Buffer) => void;
}

/** What an open WebSocket belongs to. */
interface Carried {
  readonly client: Socket;
  readonly service: PreparedService;
  readonly issued: FoundKey | undefined;
  readonly callerId: string;
}

/** @param sendTimeoutMs how long an upstream may read nothing of what waits for it; the listener applies the same limit to clients. */
export function createTunnels(sendTimeoutMs: number): Tunnels {
  const proxy = createProxyServer();
  // Without a listener, errors on a client's socket would be thrown. The exchange handles them itself.
  proxy.on("error", () => {});
  const tunnels = new Map<OpenTunnel, Carried>();
  const ended = new WeakSet<PreparedService>();
  /** By the id of the caller, on the clock of performance.now(): it was admitted by a key that is no longer valid. */
  const endedAt = new Map<string, number>();
  let isClosing = false;
  const stalls = createStallSweep(sendTimeoutMs, upstreamSockets, (socket) => socket.destroy());

  function* upstreamSockets() {
    for (const tunnel of tunnels.keys()) yield tunnel.upstream;
  }

  async function prepare({ exchange, route, request }: Upgrade): Promise<Prepared> {
    let made: ClientRequest | undefined;
    const onRequest = (sent: ClientRequest) => {
      // http-proxy-3 would decode, merge and encode the path again.
      sent.path = request.path;
      made = sent;
    };
    proxy.once("proxyReqWs", onRequest);
    try {
      proxy.ws(handshakeRequest(request), exchange.req.socket, NO_BYTES, proxyOptions(route));
    } finally {
      proxy.off("proxyReqWs", onRequest);
    }
    if (made === undefined) throw new Error("http-proxy-3 made no request");
    const [join] = made.listeners("upgrade");
    // Its own listeners end the client's connection.
    made.removeAllListeners("error").on("error", () => {});
    await once(made, "finish");
    const upgradeHead = (made.socket as unknown as Recorder).text;
    made.destroy();
    return { upgradeHead, join: join as Prepared["join"] };
  }

  function carry(
    { exchange, route, request }: Upgrade,
    accepted: Accepted,
    join: Prepared["join"],
    parts: TunnelParts,
  ): Promise<void> {
    const client = exchange.req.socket;
    const { bytesRead } = client;
    const { earlyBytes } = accepted;
    exchange.respondedAt = performance.now();
    const { subprotocols } = request.rarePlaces ?? {};
    const upstreamHeaders = subprotocols === undefined ? accepted.headers : withOffered(accepted.headers, subprotocols);
    const headers = acceptance(createResponseHeaders(exchange, route, upstreamHeaders, parts));
    // None was offered to the upstream.
    if (route.prepared.messages !== undefined) delete headers["sec-websocket-extensions"];
    // The socket belongs to the tunnel now, no longer to the response that was prepared for a refusal.
    exchange.res.detachSocket(client);
    exchange.res.statusCode = 101;
    accepted.returnEarlyBytes();
    // http-proxy-3 writes the headers as a string: each of its characters is one byte, as it was received.
    client.setDefaultEncoding("latin1");
    join({ headers } as IncomingMessage, accepted.socket, NO_BYTES);
    const { bytesWritten } = client;
    const { issued } = exchange;
    const { idleTimeoutMs = 0 } = route.prepared.service;
    const tunnel = new OpenTunnel(client, accepted.socket, idleTimeoutMs, injectionOf(exchange, route, parts));
    tunnels.set(tunnel, { client, service: route.prepared, issued, callerId: exchange.callerId });
    // The service may have been replaced, or the key may have ended, during the handshake.
    const isOver =
      ended.has(route.prepared) ||
      issued?.isOver === true ||
      exchange.startedAt < (endedAt.get(exchange.callerId) ?? Number.NEGATIVE_INFINITY);
    if (isClosing) tunnel.closeGoingAway();
    else if (isOver) tunnel.forceClose();
    else if (issued?.closesAtMs !== undefined) closeAt(issued.closesAtMs, tunnel);
    // What this function captures stays in memory as long as the WebSocket.
    return tunnel.closed.then(() => {
      tunnels.delete(tunnel);
      exchange.bytesIn = client.bytesRead - bytesRead + earlyBytes;
      exchange.bytesOut = client.bytesWritten - bytesWritten;
    });
  }

  return {
    get open() {
      return tunnels.size;
    },
    async run(upgrade, parts) {
      const { exchange, route } = upgrade;
      const { quota } = route.prepared;
      if (quota?.isHolding) await holdForQuota(exchange, quota, route, { request: upgrade.request, parts });
      else if (quota !== undefined) exchange.quotaOutcome = "observed";
      const credential = new CredentialUse(exchange, route);
      if (!(await credential.inject(upgrade.request, handshakeTime(upgrade)))) return;
      // Before the breaker: what it throws is no attempt.
      const { upgradeHead, join } = await prepare(upgrade);
      let pass = enterBreaker(route.prepared, exchange);
      const judge = (outcome: AttemptOutcome, wasConnected: boolean) => {
        if (pass !== NO_PASS) settleBreaker(route.prepared, { pass, voter: exchange.voter, wasConnected }, outcome);
        pass = NO_PASS;
      };
      const onResponse = (status: number, headers: ResponseHeaders) => {
        reportToQuota(exchange, route, upgrade.request, { status, headers });
        // The client's next handshake has the new credential.
        if (status === 401) credential.wasRefused(() => false);
        else if (credential.isWatched) credential.note(status, headers);
      };
      const accepted = await shakeHands(upgrade, { ...parts, upgradeHead, onResponse, judge });
      if (accepted === undefined) return;
      try {
        return carry(upgrade, accepted, join, parts);
      } catch (error) {
        // Nothing else would end the two sockets.
        accepted.socket.destroy();
        exchange.req.socket.destroy();
        throw error;
      }
    },
    closeAll() {
      isClosing = true;
      for (const tunnel of tunnels.keys()) tunnel.closeGoingAway();
    },
    closeOfService(service) {
      // A WebSocket in its handshake is closed when the handshake is over.
      ended.add(service);
      for (const [tunnel, of] of tunnels) if (of.service === service) tunnel.forceClose();
    },
    closeOfClients(isAmong) {
      for (const [tunnel, { client }] of tunnels) if (isAmong(client)) tunnel.forceClose();
    },
    closeOver() {
      for (const [tunnel, { issued }] of tunnels) if (issued?.isOver === true) tunnel.forceClose();
    },
    closeOfCaller(id) {
      endedAt.set(id, performance.now());
      for (const [tunnel, { callerId }] of tunnels) if (callerId === id) tunnel.forceClose();
    },
    close: stalls.stop,
  };
}

/** Undefined where the client's messages pass untouched. It stays in memory as long as the WebSocket. */
function injectionOf(
  { callerId: id, issued, poolUse }: Exchange,
  { prepared: { messages } }: Route,
  { callers }: TunnelParts,
): MessageInjection | undefined {
  if (messages === undefined) return undefined;
  const caller = { id, issued };
  return messages.open((text) => callers.isKeyOf(caller, text), poolUse?.chosen);
}

/** @param timeMs since the epoch. */
function closeAt(timeMs: number, tunnel: OpenTunnel): void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const leftMs = timeMs - Date.now();
    if (leftMs <= 0) return tunnel.forceClose();
    timer = setTimeout(wait, Math.min(leftMs, LONGEST_TIMER_MS)).unref();
  };
  wait();
  void tunnel.closed.then(() => clearTimeout(timer));
}

/** As the deadline of the handshake, which starts afterwards, will count it. */
function handshakeTime({ exchange, route }: Upgrade): { readonly remainingMs: number } {
  return { remainingMs: exchange.dueFrom + route.prepared.service.timeoutMs - performance.now() };
}

/** What http-proxy-3 reads of a request: the stripped request instead of the client's. */
function handshakeRequest({ headers }: UpstreamRequest): IncomingMessage {
  const byName = headersByName(headers);
  byName.connection = "Upgrade";
  byName.upgrade = "websocket";
  const request: Partial<IncomingMessage> = { method: "GET", url: "/", httpVersionMajor: 1, headers: byName };
  return request as IncomingMessage;
}

/** What node:http calls on an agent. It gives the request a stream instead of a connection. */
const RECORDING = {
  addRequest: (made: ClientRequest) => made.onSocket(new Recorder() as unknown as Socket),
};

function proxyOptions(route: Route): ServerOptions {
  const { host } = new URL(route.base.origin);
  return {
    // A placeholder: nothing connects.
    target: { protocol: "http:", host, hostname: host, port: 0 },
    headers: { host },
    agent: RECORDING,
    ignorePath: true,
    prependPath: false,
  };
}

/** A client closes a WebSocket with a subprotocol that it did not offer (RFC 6455 section 4.1). */
function withOffered(headers: ResponseHeaders, { kept, replaced, injected }: OfferedSubprotocols): ResponseHeaders {
  const { "sec-websocket-protocol": chosen, ...rest } = headers;
  if (typeof chosen !== "string") return rest;
  const offered = chosen === injected ? replaced : kept.find((item) => item === chosen);
  return offered === undefined ? rest : { ...rest, "sec-websocket-protocol": offered };
}

/** The headers of the 101: its hop-by-hop headers were removed and are added again; a length and a page's policies have no meaning in it. */
function acceptance(headers: readonly string[]): IncomingMessage["headers"] {
  const byName = headersByName(headers);
  for (const name of ["content-length", "content-security-policy", "x-content-type-options"]) delete byName[name];
  byName.connection = "Upgrade";
  byName.upgrade = "websocket";
  return byName;
}

/** By lower-case name, a repeated one as a list. Without a prototype, because a header may be named `__proto__`. */
function headersByName(flat: readonly string[]): IncomingMessage["headers"] {
  const byName: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < flat.length; i += 2) {
    const name = (flat[i] as string).toLowerCase();
    const value = flat[i + 1] as string;
    const others = byName[name];
    if (others === undefined) byName[name] = value;
    else if (typeof others === "string") byName[name] = [others, value];
    else others.push(value);
  }
  return byName as IncomingMessage["headers"];
}
