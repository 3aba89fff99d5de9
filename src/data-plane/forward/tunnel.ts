/**
 * WebSocket: http-proxy-3 asks the upstream and joins the two sockets; what it lacks stands around it.
 * Invariant: a handshake ends within its deadline in a 101, in the upstream's own refusal or in a GatewayError; and
 * nothing that http-proxy-3 throws or emits escapes.
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
import { createDialAgent, type DialTarget } from "./egress.ts";
import type { ForwardParts } from "./forward.ts";
import { holdForQuota, reportToQuota } from "./quota-gate.ts";
import type { UpstreamRequest } from "./upstream-request.ts";
import { type Accepted, shakeHands, type Upgrade } from "./websocket/handshake.ts";
import { OpenTunnel } from "./websocket/open-tunnel.ts";
import { relayRefusal } from "./websocket/relay-refusal.ts";

export interface Tunnels {
  /** WebSockets open now. */
  readonly open: number;
  /** Resolves when the WebSocket, or the upstream's refusal of one, is over. @throws GatewayError while nothing was answered. */
  run(upgrade: Upgrade, parts: ForwardParts): Promise<void>;
  /** From now on every WebSocket is told 1001 and ended, those whose handshake is under way included. */
  goAway(): void;
  /** The same for those of an issued key that ended, or may do less than before. */
  endThoseOfKey(digest: string): void;
  /** The same for those of a service that is served no more. */
  endThoseOf(service: PreparedService): void;
  /** Watches over none of them any more. */
  close(): void;
}

/** @param sendTimeoutMs that an upstream may take nothing of what waits for it; the listener asks the same of clients. */
export function createTunnels(sendTimeoutMs: number): Tunnels {
  const proxy = createProxyServer();
  // What befalls a client's socket comes here too, and would be thrown if nobody listened. The exchange hears of it itself.
  proxy.on("error", () => {});
  const tunnels = new Map<OpenTunnel, { readonly service: PreparedService; readonly digest: string | undefined }>();
  const ended = new WeakSet<PreparedService>();
  let isGoingAway = false;
  const stalls = createStallSweep(sendTimeoutMs, upstreamSockets, (socket) => socket.destroy());

  function* upstreamSockets() {
    for (const tunnel of tunnels.keys()) yield tunnel.upstream;
  }

  /** The request, on its way, with http-proxy-3's own listeners on it. */
  function send({ exchange, route, request, head }: Upgrade, onSocket: DialTarget["onSocket"]): ClientRequest {
    let upstreamRequest: ClientRequest | undefined;
    const take = (made: ClientRequest) => {
      // http-proxy-3 would decode, merge and encode it again.
      made.path = request.path;
      upstreamRequest = made;
    };
    proxy.once("proxyReqWs", take);
    try {
      proxy.ws(handshakeRequest(request) as IncomingMessage, exchange.req.socket, head, proxyOptions(route, onSocket));
    } finally {
      proxy.off("proxyReqWs", take);
    }
    if (upstreamRequest === undefined) throw new Error("http-proxy-3 made no request");
    return upstreamRequest;
  }

  async function carry({ exchange, route }: Upgrade, handshake: Accepted, parts: ForwardParts): Promise<void> {
    const client = exchange.req.socket;
    const { bytesRead } = client;
    handshake.answer.headers = acceptance(createResponseHeaders(exchange, route, handshake.answer.headers, parts));
    // The socket is the tunnel's now: the answer that stood ready for a refusal lets go of it.
    exchange.res.detachSocket(client);
    exchange.res.statusCode = 101;
    handshake.join();
    const { bytesWritten } = client;
    const tunnel = new OpenTunnel(client, handshake.socket, route.prepared.service.idleTimeoutMs ?? 0);
    const { issued } = exchange;
    tunnels.set(tunnel, { service: route.prepared, digest: issued?.digest });
    // Its key may have ended during the handshake, or since it was admitted.
    const isOver = ended.has(route.prepared) || issued?.isOver === true;
    if (isGoingAway) tunnel.goAway();
    else if (isOver) tunnel.sendAway();
    await tunnel.closed;
    tunnels.delete(tunnel);
    exchange.bytesIn = client.bytesRead - bytesRead + handshake.earlyBytes;
    exchange.bytesOut = client.bytesWritten - bytesWritten;
  }

  return {
    get open() {
      return tunnels.size;
    },
    async run(admitted, parts) {
      const { exchange, route } = admitted;
      const { quota } = route.prepared;
      if (quota?.isHolding) await holdForQuota(exchange, quota, route, { request: admitted.request, parts });
      else if (quota !== undefined) exchange.quotaOutcome = "observed";
      const upgrade = { ...admitted, request: inject(admitted.request, await route.prepared.credential.get()) };
      const pass = enterBreaker(route.prepared);
      exchange.attempts = 1;
      exchange.quota?.sent();
      const handshake = await shakeHands(upgrade, send).catch((error: GatewayError) => {
        settleBreaker(route.prepared, pass, error);
        throw error;
      });
      exchange.answeredAt = performance.now();
      const status = handshake.kind === "client-left" ? undefined : (handshake.answer.statusCode as number);
      settleBreaker(route.prepared, pass, status);
      if (handshake.kind !== "client-left") {
        const { statusCode = 0, headers } = handshake.answer;
        reportToQuota(exchange, route, admitted.request, { status: statusCode, headers });
      }
      switch (handshake.kind) {
        case "accepted":
          return carry(upgrade, handshake, parts).catch((error: unknown) => {
            // Whatever was thrown: there is nobody left who would end the two.
            handshake.socket.destroy();
            exchange.req.socket.destroy();
            throw error;
          });
        case "refused":
          return relayRefusal(upgrade, handshake.answer, parts);
        case "client-left":
          exchange.outcome = "client-left";
      }
    },
    goAway() {
      isGoingAway = true;
      for (const tunnel of tunnels.keys()) tunnel.goAway();
    },
    endThoseOf(service) {
      // Those whose handshake is under way follow when it is over.
      ended.add(service);
      for (const [tunnel, of] of tunnels) if (of.service === service) tunnel.sendAway();
    },
    endThoseOfKey(digest) {
      for (const [tunnel, of] of tunnels) if (of.digest === digest) tunnel.sendAway();
    },
    close: stalls.stop,
  };
}

/** What http-proxy-3 reads of a request: the stripped one in the place of the client's. */
function handshakeRequest({ headers }: UpstreamRequest): Partial<IncomingMessage> {
  const byName = headersByName(headers);
  byName.connection = "Upgrade";
  byName.upgrade = "websocket";
  return { method: "GET", url: "/", httpVersion: "1.1", httpVersionMajor: 1, headers: byName };
}

function proxyOptions(route: Route, onSocket: DialTarget["onSocket"]): ServerOptions {
  const { host } = new URL(route.base.origin);
  return {
    // A stand-in: the agent connects, and TLS is its business.
    target: { protocol: "http:", host, hostname: host, port: 0 },
    headers: { host },
    agent: createDialAgent(route.prepared.dial, route.base.origin, onSocket),
    ignorePath: true,
    prependPath: false,
  };
}

/** The 101's headers: what makes it one was taken away with the other hop-by-hop headers; a length has no meaning in it. */
function acceptance(headers: readonly string[]): IncomingMessage["headers"] {
  const byName = headersByName(headers);
  delete byName["content-length"];
  byName.connection = "Upgrade";
  byName.upgrade = "websocket";
  return byName;
}

/** By lower-case name, a repeated one as a list. Without a prototype: a header may be called `__proto__`. */
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
