/**
 * Opens the TLS connections of one service: with its certificates, its server name and the sessions that its upstream gave.
 * Invariant: a session is used again only for the name that was verified when it was received.
 */
import { isIP } from "node:net";
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
  connect as tlsConnect,
} from "node:tls";

/** TLS sessions that one service remembers, so that a later connection needs no full handshake. */
const TLS_SESSIONS_LIMIT = 100;

/** The contents of PEM files. */
export interface Pem {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface TlsOptions {
  readonly pem: Pem;
  /** The certificate is verified. */
  readonly isTlsStrict: boolean;
  /** The name to send and verify, instead of the host's. */
  readonly servername: string | undefined;
  /** The only protocol that is offered (RFC 7301). */
  readonly protocol: "http/1.1" | "h2";
}

/** @param hostname without brackets. */
export type OpenTls = (options: ConnectionOptions, hostname: string) => TLSSocket;

export function createTlsOpener({ pem, isTlsStrict, servername, protocol }: TlsOptions): OpenTls {
  const sessions = new Map<string, Buffer>();
  let secureContext: SecureContext | undefined;

  return (options, hostname) => {
    secureContext ??= createSecureContext({ ...pem });
    // RFC 6066 section 3: an address is no server name, and a name has no trailing dot.
    const name = servername ?? (isIP(hostname) === 0 ? hostname.replace(/\.$/, "") : undefined);
    const sessionKey = name ?? hostname;
    const session = sessions.get(sessionKey);
    const socket = tlsConnect({
      ...options,
      secureContext,
      rejectUnauthorized: isTlsStrict,
      ALPNProtocols: [protocol],
      ...(name === undefined ? {} : { servername: name }),
      ...(session === undefined ? {} : { session }),
    });
    socket.on("session", (received) => {
      sessions.delete(sessionKey);
      const [oldest] = sessions.size < TLS_SESSIONS_LIMIT ? [] : sessions.keys();
      if (oldest !== undefined) sessions.delete(oldest);
      sessions.set(sessionKey, received);
    });
    return socket;
  };
}
