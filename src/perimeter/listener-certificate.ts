/**
 * The certificate that the listeners serve, and its replacement while they run.
 * Invariant: files that cannot be used change nothing: the listeners keep the certificate that they have, and `problem` says why.
 */
import { constants, randomBytes } from "node:crypto";
import type { SecureContextOptions } from "node:tls";
import type { Logger } from "../telemetry/logger.ts";
import { describeCertificate, expiryOf } from "./describe-certificate.ts";
import {
  type CertificateFiles,
  type CertificateState,
  CertificateUnusable,
  certificateFilesOf,
  readServerCertificate,
  type ServerCertificate,
  type TlsSettings,
} from "./server-certificate.ts";
import type { TlsIdentity } from "./tls-acceptor.ts";

/** Bytes; node:tls shares one set among all tickets. */
const TICKET_KEYS_LENGTH = 48;

export interface ListenerCertificate extends TlsIdentity, CertificateState {
  /** Since the start: a reload does not change the paths. */
  readonly files: CertificateFiles;
  /** What is served now. */
  readonly current: ServerCertificate;
  /** Why the files were not used when they were read last; undefined if they are what is served. */
  readonly problem: string | undefined;
  /** Reads the files again, and logs what changed. */
  refresh(logger: Pick<Logger, "info" | "warn" | "error">): void;
  /** Warns about one that is near its end. */
  warn(logger: Pick<Logger, "warn">): void;
}

/** Undefined for plain HTTP. @throws CertificateUnusable */
export function openListenerCertificate(settings: TlsSettings): ListenerCertificate | undefined {
  const files = certificateFilesOf(settings);
  if (files === undefined) return undefined;
  let current = readServerCertificate(files);
  let problem: string | undefined;
  const listeners = new Set<() => void>();
  // The same after a replacement: a client resumes its session with the new certificate.
  const ticketKeys = randomBytes(TICKET_KEYS_LENGTH);
  // A resumed session would not check the client's certificate again: one that has expired, or a removed authority, would remain valid.
  const secureOptions = files.clientCaFile === undefined ? 0 : constants.SSL_OP_NO_TICKET;
  const context = (): SecureContextOptions & { ticketKeys: Buffer } => ({
    ...current.pem,
    minVersion: "TLSv1.2",
    ticketKeys,
    secureOptions,
  });
  const warn: ListenerCertificate["warn"] = (logger) => {
    const { validFrom, validTo } = describeCertificate(current);
    if (expiryOf(current) !== "later") logger.warn(`the certificate of the listener expires at ${validTo}: renew it`);
    if (Date.parse(validFrom) > Date.now()) {
      logger.warn(`the certificate of the listener is valid from ${validFrom} on: check this machine's clock`);
    }
  };
  return {
    files,
    warn,
    get current() {
      return current;
    },
    get problem() {
      return problem;
    },
    needsClientCertificate: files.clientCaFile !== undefined,
    context,
    onReplace: (listener) => void listeners.add(listener),
    refresh(logger) {
      try {
        const read = readServerCertificate(files);
        problem = undefined;
        if (isSame(read, current)) return;
        if (Date.parse(read.chain[0].validFrom) > Date.now()) throw notYetValid(files, read);
        current = read;
        for (const listener of listeners) listener();
        const { validTo, fingerprint256: fingerprint } = read.chain[0];
        logger.info({ validTo, fingerprint }, "new connections get the certificate that was just read");
        warn(logger);
      } catch (error) {
        if (!(error instanceof CertificateUnusable)) throw error;
        problem = error.message;
        logger.error(`The listener keeps its certificate. ${problem}`);
      }
    },
  };
}

function isSame({ pem }: ServerCertificate, { pem: other }: ServerCertificate): boolean {
  return pem.cert === other.cert && pem.key === other.key && pem.ca === other.ca;
}

function notYetValid({ certFile }: CertificateFiles, { chain }: ServerCertificate): CertificateUnusable {
  const { validFrom } = chain[0];
  return new CertificateUnusable(
    `TLS_CERT_FILE ${certFile} cannot be used: its certificate is valid from ${validFrom} on; check this machine's clock, or reload then.`,
  );
}
