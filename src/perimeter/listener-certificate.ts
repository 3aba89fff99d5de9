/**
 * The certificate that the listeners serve, and its replacement while they run.
 * Invariant: a new pair that cannot be used changes nothing: the listeners keep the certificate that they have.
 */
import { randomBytes } from "node:crypto";
import {
  certificateFilesOf,
  readServerCertificate,
  type ServerCertificate,
  type TlsSettings,
} from "./server-certificate.ts";
import type { TlsIdentity } from "./tls-acceptor.ts";

/** Bytes; node:tls shares one set among all tickets. */
const TICKET_KEYS_LENGTH = 48;

export interface ListenerCertificate extends TlsIdentity {
  /** What is served now. */
  readonly current: ServerCertificate;
}

/** Undefined for plain HTTP. @throws CertificateUnusable */
export function openListenerCertificate(settings: TlsSettings): ListenerCertificate | undefined {
  const files = certificateFilesOf(settings);
  if (files === undefined) return undefined;
  const current = readServerCertificate(files);
  const ticketKeys = randomBytes(TICKET_KEYS_LENGTH);
  const listeners = new Set<() => void>();
  return {
    get current() {
      return current;
    },
    needsClientCertificate: files.clientCaFile !== undefined,
    context: () => ({ ...current.pem, minVersion: "TLSv1.2", ticketKeys }),
    onReplace: (listener) => void listeners.add(listener),
  };
}
