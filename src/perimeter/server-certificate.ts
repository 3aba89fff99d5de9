/**
 * Reads the certificate of the listener, its key and the authorities of client certificates, and checks that they can be used.
 * Invariant: what was read is complete and works together, or the result is one sentence with the problem, the cause and the fix. No
 * sentence has a part of the key.
 */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { readTextFile } from "../config/read-file.ts";
import type { Settings } from "../config/settings.ts";

export type TlsSettings = Pick<Settings, "TLS_CERT_FILE" | "TLS_KEY_FILE" | "TLS_CLIENT_CA_FILE">;

/** Undefined for plain HTTP. */
export function certificateFilesOf({
  TLS_CERT_FILE: certFile,
  TLS_KEY_FILE: keyFile,
  TLS_CLIENT_CA_FILE: clientCaFile,
}: TlsSettings): CertificateFiles | undefined {
  return certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile, clientCaFile };
}

/** Paths. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string | undefined;
}

export interface ServerCertificate {
  /** The contents of the files: `key` is secret. */
  readonly pem: { readonly cert: string; readonly key: string; readonly ca: string | undefined };
  /** The certificate, then those that the file has besides it. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
}

/** The certificate of the listeners, or the reason why there is none. */
export interface CertificateState {
  readonly current: ServerCertificate | undefined;
  /** Why the files cannot be used. */
  readonly problem: string | undefined;
  readonly needsClientCertificate: boolean;
}

export class CertificateUnusable extends Error {}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
const BEGIN = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/;
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** @param now ms since the epoch. @throws CertificateUnusable */
export function readServerCertificate(files: CertificateFiles, now = Date.now()): ServerCertificate {
  const cert = read("TLS_CERT_FILE", files.certFile);
  const keyText = read("TLS_KEY_FILE", files.keyFile);
  const ca = files.clientCaFile === undefined ? undefined : read("TLS_CLIENT_CA_FILE", files.clientCaFile);
  const chain = certificatesIn("TLS_CERT_FILE", files.certFile, cert);
  if (files.clientCaFile !== undefined) certificatesIn("TLS_CLIENT_CA_FILE", files.clientCaFile, ca as string);
  const key = privateKeyIn(files.keyFile, keyText);
  checkPair(files, chain, key);
  const [leaf] = chain;
  if (Date.parse(leaf.validTo) < now) {
    throw unusable("TLS_CERT_FILE", files.certFile, [
      `its certificate expired on ${leaf.validTo}`,
      "renew the certificate, or check this machine's clock",
    ]);
  }
  const pem = { cert, key: keyText, ca };
  checkContext(files, pem);
  return { pem, chain };
}

/** What a start would serve. Undefined for plain HTTP. */
export function examineCertificate(settings: TlsSettings): CertificateState | undefined {
  const files = certificateFilesOf(settings);
  if (files === undefined) return undefined;
  const needsClientCertificate = files.clientCaFile !== undefined;
  try {
    return { current: readServerCertificate(files), problem: undefined, needsClientCertificate };
  } catch (error) {
    if (!(error instanceof CertificateUnusable)) throw error;
    return { current: undefined, problem: error.message, needsClientCertificate };
  }
}

/** The sentence for one file. */
function unusable(variable: string, path: string, [cause, fix]: readonly [string, string]): CertificateUnusable {
  return new CertificateUnusable(`${variable} ${path} cannot be used: ${cause}; ${fix}.`);
}

function read(variable: string, path: string): string {
  const reading = readTextFile(path);
  if (reading.state === "read") return reading.text;
  if (reading.state === "absent") {
    throw unusable(variable, path, ["there is no such file", `create it, or set ${variable} to another path`]);
  }
  throw unusable(variable, path, [reading.reason, "set it to a PEM file that this user can read"]);
}

function certificatesIn(variable: string, path: string, text: string): [X509Certificate, ...X509Certificate[]] {
  const blocks = text.match(CERTIFICATE) ?? [];
  const begun = text.match(BEGIN)?.length ?? 0;
  if (begun === 0) {
    const has = PRIVATE_KEY.test(text) ? "it holds a private key and no certificate" : "it holds no PEM certificate";
    throw unusable(variable, path, [has, "set it to a file with -----BEGIN CERTIFICATE-----"]);
  }
  const incomplete = unusable(variable, path, [
    "a certificate in it is incomplete or damaged",
    "write the whole file again; replace it with a rename, so that it is never read half-written",
  ]);
  if (blocks.length !== begun) throw incomplete;
  try {
    const [leaf, ...others] = blocks.map((block) => new X509Certificate(block));
    return [leaf as X509Certificate, ...others];
  } catch {
    throw incomplete;
  }
}

function privateKeyIn(path: string, text: string): KeyObject {
  if (ENCRYPTED.test(text)) {
    throw unusable("TLS_KEY_FILE", path, [
      "its key is encrypted with a passphrase",
      "write it without one (openssl pkey -in encrypted.pem -out key.pem), readable for this user only",
    ]);
  }
  if (!PRIVATE_KEY.test(text)) {
    throw unusable("TLS_KEY_FILE", path, ["it holds no PEM private key", "set it to the key of TLS_CERT_FILE"]);
  }
  try {
    return createPrivateKey(text);
  } catch {
    throw unusable("TLS_KEY_FILE", path, [
      "its key is incomplete or damaged",
      "write the whole file again; replace it with a rename, so that it is never read half-written",
    ]);
  }
}

function checkPair({ certFile, keyFile }: CertificateFiles, chain: readonly X509Certificate[], key: KeyObject): void {
  const publicKey = createPublicKey(key);
  const owner = chain.findIndex((certificate) => certificate.publicKey.equals(publicKey));
  if (owner === 0) return;
  if (owner > 0) {
    throw unusable("TLS_CERT_FILE", certFile, [
      `the certificate of TLS_KEY_FILE is number ${owner + 1} in it`,
      "write it first, then its intermediates",
    ]);
  }
  throw unusable("TLS_KEY_FILE", keyFile, [
    `its key is not that of the certificate in TLS_CERT_FILE ${certFile}`,
    "set both to files of one pair; if one of them was just renewed, renew the other",
  ]);
}

/** OpenSSL refuses, for example, keys and signatures that are too weak. */
function checkContext({ certFile }: CertificateFiles, { cert, key, ca }: ServerCertificate["pem"]): void {
  try {
    createSecureContext({ cert, key, ca });
  } catch (error) {
    const reason = (error as { reason?: string }).reason ?? "it is not accepted";
    throw unusable("TLS_CERT_FILE", certFile, [`OpenSSL says "${reason}"`, "use a certificate with a stronger key"]);
  }
}
