/** The facts about a certificate that operators see. All of them are public: a TLS handshake shows the certificate. */
import { X509Certificate } from "node:crypto";
import * as tls from "node:tls";
import type { ServerCertificate } from "./server-certificate.ts";

const DAY_MS = 86_400_000;

/** Certificates of 90 days or more are due this many days before they expire. */
const EXPIRING_DAYS = 30;
const URGENT_DAYS = 7;

export interface DescribedCertificate {
  /** As in the certificate: `CN=gateway.example.com`. */
  readonly subject: string;
  readonly names: string;
  readonly issuer: string;
  readonly isSelfSigned: boolean;
  /** ISO 8601. */
  readonly validFrom: string;
  readonly validTo: string;
  /** Whole days; negative after the end. */
  readonly daysLeft: number;
  /** SHA-256, as `openssl x509 -fingerprint -sha256` shows it. */
  readonly fingerprint: string;
  /** In the file. */
  readonly certificates: number;
}

/** @param now ms since the epoch. */
export function describeCertificate({ chain }: ServerCertificate, now = Date.now()): DescribedCertificate {
  const [leaf] = chain;
  return {
    subject: oneLine(leaf.subject),
    names: leaf.subjectAltName ?? "",
    issuer: oneLine(leaf.issuer),
    isSelfSigned: leaf.checkIssued(leaf),
    validFrom: new Date(leaf.validFrom).toISOString(),
    validTo: new Date(leaf.validTo).toISOString(),
    daysLeft: Math.floor((Date.parse(leaf.validTo) - now) / DAY_MS),
    fingerprint: leaf.fingerprint256,
    certificates: chain.length,
  };
}

/**
 * How near the end of the certificate is. One that lives for less than 90 days is judged by its lifetime: it is renewed more often.
 * @param now ms since the epoch.
 */
export function expiryOf(
  { chain: [leaf] }: ServerCertificate,
  now = Date.now(),
): "expired" | "urgent" | "expiring" | "later" {
  const end = Date.parse(leaf.validTo);
  const lifetimeDays = (end - Date.parse(leaf.validFrom)) / DAY_MS;
  const daysLeft = (end - now) / DAY_MS;
  if (daysLeft < 0) return "expired";
  if (daysLeft < Math.min(URGENT_DAYS, lifetimeDays / 12)) return "urgent";
  return daysLeft < Math.min(EXPIRING_DAYS, lifetimeDays / 3) ? "expiring" : "later";
}

/**
 * The issuer that a client needs and is not sent. Undefined if the file leads to a root: one in it, one that Node trusts, or one in
 * NODE_EXTRA_CA_CERTS (from Node 22.15 on).
 */
export function missingIssuerOf({ chain: [leaf, ...others] }: ServerCertificate): string | undefined {
  const unused = new Set(others);
  let last = leaf;
  while (!last.checkIssued(last)) {
    const issuer = [...unused].find((other) => last.checkIssued(other));
    if (issuer === undefined) return trustedRoots().some((root) => last.checkIssued(root)) ? undefined : last.issuer;
    unused.delete(issuer);
    last = issuer;
  }
  return undefined;
}

function trustedRoots(): X509Certificate[] {
  const { getCACertificates } = tls as { getCACertificates?: (type: "extra") => string[] };
  return [...tls.rootCertificates, ...(getCACertificates?.("extra") ?? [])].map((pem) => new X509Certificate(pem));
}

/** Node writes one attribute per line. */
const oneLine = (name: string) => name.replaceAll("\n", ", ");
