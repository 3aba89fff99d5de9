/**
 * The TCP connection below a client's socket: with TLS, node:http works on a socket that encrypts another one.
 * Invariant: what is counted, capped and reset is the TCP connection, which exists before a TLS handshake.
 */
import type { Socket } from "node:net";

/** The TCP socket below a TLS socket; any other socket itself. node:tls has no public member for it. */
export function wireOf(socket: Socket): Socket {
  return (socket as { _parent?: Socket | null })._parent ?? socket;
}

/** Ends a connection by RST. A TLS socket itself cannot be reset. */
export function resetConnection(socket: Socket): void {
  wireOf(socket).resetAndDestroy();
}

/** How the client reached the gateway itself. */
export function schemeOf(socket: object | undefined): "http" | "https" {
  return (socket as { encrypted?: boolean } | undefined)?.encrypted === true ? "https" : "http";
}
