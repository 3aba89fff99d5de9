/**
 * WebSockets: http-proxy-3 sends the handshake and joins the two sockets; this file guards it.
 * Invariant: a handshake ends within its deadline with a 101, with the upstream's own refusal or with a GatewayError; and nothing
 * that http-proxy-3 throws or emits escapes.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { createProxyServer, type ServerOptions } from "http-proxy-3";
import type { GatewayError } from "../../errors.ts";
import { createStallSweep } from "../../perimeter/stall-sweep.ts";
import { inject } from "../credential/credential-provider.ts";
import type { Route } from "../identify.ts";
import type { PreparedService } from "../prepared-service.ts";
import { createResponseHeaders } from "./answer-headers.ts";
import { enterBreaker, settleBreaker } from "./breaker.ts";
import { createDialAgent } from "./egress.ts";
import type { ForwardParts } from "./forward.ts";
import { holdForQuota, reportToQuota } from "./quota-gate.ts";
import type { UpstreamRequest } from "./upstream-request.ts";
import { type Accepted, shakeHands, type Upgrade } from "./websocket/handshake.ts";
import { OpenTunnel } from "./websocket/open-tunnel.ts";
import { relayRefusal } from "./websocket/relay-refusal.ts";

export interface Tunnels {
  /** The number of open WebSockets. */
  readonly open: number;
  /** Resolves when the WebSocket or the upstream's refusal is over. @throws GatewayError while nothing of a response was sent. */
  run(upgrade: Upgrade, parts: ForwardParts): Promise<void>;
  /** Closes every WebSocket with 1001, now and from now on. */
  closeAll(): void;
  /** Closes the WebSockets of an issued key that ended or lost permissions. */
  closeOfKey(digest: string): void;
  /** Closes the WebSockets of a removed or replaced service. */
  closeOfService(service: PreparedService): void;
  /** Stops the check for stalled sockets. */
  close(): void;
}

/** @param sendTimeoutMs how long an upstream may read nothing of what waits for it; the listener applies the same limit to clients. */
export function createTunnels(sendTimeoutMs: number): Tunnels {
  const proxy = createProxyServer();
  // Without a listener, errors on a client's socket would be thrown. The exchange handles them itself.
  proxy.on("error", () => {});
  const tunnels = new Map<OpenTunnel, { readonly service: PreparedService; readonly digest: string | undefined }>();
  const ended = new WeakSet<PreparedService>();
  let isClosing = false;
  const stalls = createStallSweep(sendTimeoutMs, upstreamSockets, (socket) => socket.destroy());

  function* upstreamSockets() {
    for (const tunnel of tunnels.keys()) yield tunnel.upstream;
  }

  /** Sends the handshake. The returned request has http-proxy-3's own listeners. */
  function send({ exchange, route, request, head }: Upgrade, signal: AbortSignal): ClientRequest {
    let upstreamRequest: ClientRequest | undefined;
    const onRequest = (made: ClientRequest) => {
      // http-proxy-3 would decode, merge and encode the path again.
      made.path = request.path;
      upstreamRequest = made;
    };
    proxy.once("proxyReqWs", onRequest);
    try {
      proxy.ws(handshakeRequest(request) as IncomingMessage, exchange.req.socket, head, proxyOptions(route, signal));
    } finally {
      proxy.off("proxyReqWs", onRequest);
    }
    if (upstreamRequest === undefined) throw new Error("http-proxy-3 made no request");
    return upstreamRequest;
  }

  async function carry({ exchange, route }: Upgrade, handshake: Accepted, parts: ForwardParts): Promise<void> {
    const client = exchange.req.socket;
    const { bytesRead } = client;
    handshake.response.headers = acceptance(createResponseHeaders(exchange, route, handshake.response.headers, parts));
    // The socket belongs to the tunnel now, no longer to the response that was prepared for a refusal.
    exchange.res.detachSocket(client);
    exchange.res.statusCode = 101;
    handshake.join();
    const { bytesWritten } = client;
    const tunnel = new OpenTunnel(client, handshake.socket, route.prepared.service.idleTimeoutMs ?? 0);
    const { issued } = exchange;
    tunnels.set(tunnel, { service: route.prepared, digest: issued?.digest });
    // The service may have been replaced, or the key may have ended, during the handshake.
    const isOver = ended.has(route.prepared) || issued?.isOver === true;
    if (isClosing) tunnel.closeGoingAway();
    else if (isOver) tunnel.forceClose();
    await tunnel.closed;
    tunnels.delete(tunnel);
    exchange.bytesIn = client.bytesRead - bytesRead + handshake.earlyBytes;
    exchange.bytesOut = client.bytesWritten - bytesWritten;
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
      inject(upgrade.request, await route.prepared.credential.get());
      const pass = enterBreaker(route.prepared);
      exchange.attempts = 1;
      exchange.quota?.sent();
      const handshake = await shakeHands(upgrade, send).catch((error: GatewayError) => {
        settleBreaker(route.prepared, pass, error);
        throw error;
      });
      exchange.respondedAt = performance.now();
      const status = handshake.kind === "client-left" ? undefined : (handshake.response.statusCode as number);
      settleBreaker(route.prepared, pass, status);
      if (handshake.kind !== "client-left") {
        const { statusCode = 0, headers } = handshake.response;
        reportToQuota(exchange, route, upgrade.request, { status: statusCode, headers });
      }
      switch (handshake.kind) {
        case "accepted":
          return carry(upgrade, handshake, parts).catch((error: unknown) => {
            // After any error nothing else would end the two sockets.
            handshake.socket.destroy();
            exchange.req.socket.destroy();
            throw error;
          });
        case "refused":
          return relayRefusal(upgrade, handshake.response, parts);
        case "client-left":
          exchange.outcome = "client-left";
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
    closeOfKey(digest) {
      for (const [tunnel, of] of tunnels) if (of.digest === digest) tunnel.forceClose();
    },
    close: stalls.stop,
  };
}

/** What http-proxy-3 reads of a request: the stripped request instead of the client's. */
function handshakeRequest({ headers }: UpstreamRequest): Partial<IncomingMessage> {
  const byName = headersByName(headers);
  byName.connection = "Upgrade";
  byName.upgrade = "websocket";
  return { method: "GET", url: "/", httpVersion: "1.1", httpVersionMajor: 1, headers: byName };
}

function proxyOptions(route: Route, signal: AbortSignal): ServerOptions {
  const { host } = new URL(route.base.origin);
  return {
    // A placeholder: the agent connects, with TLS where needed.
    target: { protocol: "http:", host, hostname: host, port: 0 },
    headers: { host },
    agent: createDialAgent(route.prepared.dial, route.base.origin, { signal }),
    ignorePath: true,
    prependPath: false,
  };
}

/** The headers of the 101: its hop-by-hop headers were removed and are added again; a length has no meaning in it. */
function acceptance(headers: readonly string[]): IncomingMessage["headers"] {
  const byName = headersByName(headers);
  delete byName["content-length"];
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
    byName[name] = others === undefined ? value : [others, value].flat();
  }
  return byName as IncomingMessage["headers"];
}
