/**
 * Accepts TLS connections: the handshake, before node:http or node:http2 sees a connection.
 * Invariant: a client that does not complete a handshake costs one line of level debug; one that speaks plain HTTP gets a response
 * that says so. The certificate is replaced for new connections only.
 */
import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type TLSSocket } from "node:tls";
import type { Logger } from "../telemetry/logger.ts";
import { wireOf } from "./wire.ts";

/** What a listener needs to serve TLS. */
export interface TlsIdentity {
  /** Whether a client needs a certificate. */
  readonly needsClientCertificate: boolean;
  /** Of new connections. */
  context(): SecureContextOptions & { readonly ticketKeys: Buffer };
  /** Called each time that `context` has changed. */
  onReplace(listener: () => void): void;
}

export interface TlsAcceptorParts {
  readonly identity: TlsIdentity;
  /** From the connection to the end of the handshake, ms. */
  readonly handshakeTimeoutMs: number;
  /** In the order of the gateway's preference. */
  readonly protocols: readonly string[];
  readonly logger: Pick<Logger, "debug">;
  /** Called after the handshake; `alpnProtocol` is what the client chose, or false. */
  readonly onSecure: (socket: TLSSocket) => void;
  /** Called with a connection on which the client speaks no TLS. Its first bytes are unread. */
  readonly onPlain: (socket: Socket) => void;
}

/** The first byte of a TLS connection: a record of type `handshake`, RFC 8446 section 5.1. */
const HANDSHAKE = 0x16;

/** @returns the function that takes over a socket that was just accepted. */
export function createTlsAcceptor(parts: TlsAcceptorParts): (socket: Socket) => void {
  const { identity, handshakeTimeoutMs, logger } = parts;
  const server = createServer({
    ...identity.context(),
    ALPNProtocols: [...parts.protocols],
    requestCert: identity.needsClientCertificate,
    rejectUnauthorized: identity.needsClientCertificate,
    // `accept` has the timer for both, the first byte and the handshake.
    handshakeTimeout: 0x7fff_ffff,
  });
  const timers = new WeakMap<Socket, NodeJS.Timeout>();
  server.on("secureConnection", (socket) => {
    clearTimeout(timers.get(wireOf(socket)));
    // As node:http expects it: a client may end its side after its request.
    socket.allowHalfOpen = true;
    // Until node:http listens, and after it has given the socket away.
    socket.on("error", () => socket.destroy());
    parts.onSecure(socket);
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
    const { remoteAddress: address, authorizationError } = socket;
    logger.debug(
      { address, error: error.code, certificate: authorizationError ?? undefined },
      "a TLS handshake failed",
    );
  });
  identity.onReplace(() => server.setSecureContext(identity.context()));

  return (socket) => {
    // A client that ends its side during the handshake will not complete it.
    socket.allowHalfOpen = false;
    socket.on("error", () => socket.destroy());
    const timer = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    timer.unref();
    timers.set(socket, timer);
    socket.once("close", () => clearTimeout(timer));
    socket.once("readable", () => {
      const first: Buffer | null = socket.read();
      if (first === null) {
        socket.destroy();
        return;
      }
      socket.unshift(first);
      if (first[0] === HANDSHAKE) server.emit("connection", socket);
      else {
        clearTimeout(timer);
        socket.allowHalfOpen = true;
        parts.onPlain(socket);
      }
    });
  };
}
