/**
 * The client certificate to which an issued key may be bound: its fingerprint, or one of its names.
 * Invariant: a certificate grants nothing. The key of a request counts only on a connection with its certificate, which the TLS
 * handshake has verified against TLS_CLIENT_CA_FILE.
 */
import type { X509Certificate } from "node:crypto";
import type { Problem } from "./path-pattern.ts";

/** Only a TLS socket has the method; it returns undefined for a client without a certificate. */
export interface PeerSocket {
  readonly getPeerX509Certificate?: () => PeerCertificate | undefined;
}

export type PeerCertificate = Pick<X509Certificate, "fingerprint256" | "subjectAltName">;

/** In `required` of a refusal, in place of a permission. */
export const CLIENT_CERT = "clientCert";

const SHA_256 = /^[0-9a-f]{64}$/;
const TEXT_LIMIT = 512;
/** RFC 3986 section 3.1, without the characters that no URI has. */
const URI = /^[a-z][a-z0-9+.-]*:[^\s"<>\\^`{|}\x00-\x1f\x7f-\uffff]+$/i;
const DNS_NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)*$/;
/** What tools write before a fingerprint: `sha256 Fingerprint=`, `SHA256:`. */
const LABEL = /^sha-?256(?: fingerprint)?[:=]\s*/i;

const ALLOWED =
  "allowed: the SHA-256 fingerprint of the certificate (64 hexadecimal digits, with or without colons), or one of its URI or DNS names";

/** In the form that is stored: digits in lower case without colons, a DNS name in lower case, a URI unchanged. */
export function parseClientCert(text: string): { readonly clientCert: string } | Problem {
  const digits = text.replace(LABEL, "").replaceAll(":", "").toLowerCase();
  if (SHA_256.test(digits)) return { clientCert: digits };
  const name = text.toLowerCase();
  // Digits and colons of another length are a fingerprint of another kind, or one that was cut.
  const isCut = LABEL.test(text) || /^[0-9a-f]{2}(?::[0-9a-f]{2})+$/.test(name) || /^[0-9a-f]{32,}$/.test(name);
  if (isCut || text.length > TEXT_LIMIT) return { problem: ALLOWED };
  if (DNS_NAME.test(name)) return { clientCert: name };
  return URI.test(text) ? { clientCert: text } : { problem: ALLOWED };
}

/** A certificate that has this fingerprint or name and no other, for a request that no client sent. */
export function assumedCertificate(clientCert: string): PeerCertificate {
  if (SHA_256.test(clientCert)) return { fingerprint256: clientCert, subjectAltName: undefined };
  const kind = clientCert.includes(":") ? "URI" : "DNS";
  return { fingerprint256: "", subjectAltName: `${kind}:${JSON.stringify(clientCert)}` };
}

/** @param clientCert as `parseClientCert` returns it. */
export function isPeerCertificate({ fingerprint256, subjectAltName }: PeerCertificate, clientCert: string): boolean {
  if (SHA_256.test(clientCert)) return fingerprint256.replaceAll(":", "").toLowerCase() === clientCert;
  const kind = clientCert.includes(":") ? "URI" : "DNS";
  return namesIn(subjectAltName ?? "").some(
    (name) => name.kind === kind && (kind === "URI" ? name.value : name.value.toLowerCase()) === clientCert,
  );
}

/** `DNS:a.test, URI:spiffe://x/y`. Node quotes a value with a comma or a quote as JSON does, so that it looks like one name (CVE-2021-44532). */
function namesIn(subjectAltName: string): { readonly kind: string; readonly value: string }[] {
  return [...subjectAltName.matchAll(/([\w ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/gy)].flatMap(
    ([, kind = "", value = ""]) => {
      if (!value.startsWith('"')) return { kind, value };
      try {
        return { kind, value: String(JSON.parse(value)) };
      } catch {
        return [];
      }
    },
  );
}
