/**
 * A WebSocket's handshake with the upstream, from the request to its outcome.
 * Invariant: it settles exactly once, within the service's deadlines, and the client may leave at any moment.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { GatewayError } from "../../../errors.ts";
import { readAhead } from "../../client-connection.ts";
import type { Exchange } from "../../exchange.ts";
import type { Route } from "../../identify.ts";
import { explainFailure, responseTimeout } from "../failures.ts";
import type { UpstreamRequest } from "../upstream-request.ts";

/** An admitted handshake. */
export interface Upgrade {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  /** The bytes that the client sent after its handshake. */
  readonly head: Buffer;
}

export interface Accepted {
  readonly kind: "accepted";
  readonly response: IncomingMessage;
  readonly socket: Socket;
  /** Bytes that the client sent before the response; the upstream receives them first. */
  readonly earlyBytes: number;
  /** Writes the 101 with the response's headers, and joins the sockets. */
  join(): void;
}

export type Handshake =
  | Accepted
  | { readonly kind: "refused"; readonly response: IncomingMessage }
  | { readonly kind: "client-left" };

type UpgradeListener = (response: IncomingMessage, socket: Socket, head: Buffer) => void;

/** @param signal ends the connection attempt. */
type SendUpgrade = (upgrade: Upgrade, signal: AbortSignal) => ClientRequest;

/** @param send sends the request. @throws GatewayError */
export function shakeHands(upgrade: Upgrade, send: SendUpgrade): Promise<Handshake> {
  const { exchange, route } = upgrade;
  const { service } = route.prepared;
  const client = exchange.req.socket;

  return new Promise((resolve, reject) => {
    let upstreamRequest: ClientRequest | undefined;
    const connecting = new AbortController();
    let isOver = false;
    const early = readAhead(client);
    const deadline = setTimeout(
      () => fail(responseTimeout(service)),
      Math.max(1, exchange.dueFrom + service.timeoutMs - performance.now()),
    );
    const onClientEnd = () => end({ kind: "client-left" });
    client.once("end", onClientEnd);

    /** True for the first outcome. */
    function isFirst(): boolean {
      if (isOver) return false;
      isOver = true;
      clearTimeout(deadline);
      early.stop();
      client.off("end", onClientEnd);
      exchange.onClose = undefined;
      return true;
    }
    function fail(error: GatewayError): void {
      if (!isFirst()) return;
      reject(error);
      abandon();
    }
    function end(handshake: Handshake): void {
      if (!isFirst()) return;
      resolve(handshake);
      if (handshake.kind !== "client-left") return;
      abandon();
      client.destroy();
    }
    function abandon(): void {
      upstreamRequest?.destroy();
      // node:http would let a connection that is being opened complete, and the cap on connections would not count it.
      connecting.abort(new Error("the handshake was canceled"));
    }

    exchange.onClose = onClientEnd;
    if (isOver) return;
    try {
      upstreamRequest = send(upgrade, connecting.signal);
    } catch (cause) {
      return fail(new GatewayError("INTERNAL_ERROR", { cause }));
    }
    const [join] = upstreamRequest.listeners("upgrade") as UpgradeListener[];
    // http-proxy-3's own listeners respond silently to errors, without back-pressure to refusals, and to any 101.
    for (const event of ["error", "response", "upgrade"]) upstreamRequest.removeAllListeners(event);
    upstreamRequest.on("error", (error) => fail(explainFailure(error, service)));
    upstreamRequest.on("response", (response) => {
      // For node:http a 101 that names no protocol is an ordinary response.
      if (response.statusCode === 101) fail(switchedElsewhere(service.key));
      else end({ kind: "refused", response });
    });
    upstreamRequest.on("upgrade", (response: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.on("error", () => socket.destroy());
      if (isOver || response.headers.upgrade?.toLowerCase() !== "websocket") {
        socket.destroy();
        return fail(switchedElsewhere(service.key));
      }
      end({
        kind: "accepted",
        response,
        socket,
        earlyBytes: early.bytes,
        join() {
          early.unshift();
          join?.(response, socket, head);
        },
      });
    });
  });
}

function switchedElsewhere(serviceKey: string): GatewayError {
  return new GatewayError("UPSTREAM_PROTOCOL_ERROR", {
    message: `${serviceKey}: it switched to a protocol other than WebSocket (http).`,
  });
}
