/**
 * Which certificate of a gateway a command trusts, and which one it presents.
 * Invariant: the management key goes to a gateway with a verified certificate only.
 */
import { X509Certificate } from "node:crypto";
import type { ConnectionOptions } from "node:tls";
import type { Variable } from "../config/env.ts";
import { readTextFile } from "../config/read-file.ts";
import type { Settings } from "../config/settings.ts";
import { CliFailure } from "./cli-failure.ts";

/** An option of Node 20.18 and later. */
type PartialTrust = ConnectionOptions & { readonly allowPartialTrustChain: boolean };

/**
 * For the gateway of this folder: exactly the certificate in TLS_CERT_FILE, whatever its name and issuer, because the command connects
 * to a loopback address. @throws CliFailure
 */
export function ownCertificate({ TLS_CERT_FILE }: Settings): ConnectionOptions {
  if (TLS_CERT_FILE === undefined) return {};
  const pem = contentOf("TLS_CERT_FILE", TLS_CERT_FILE);
  const { fingerprint256 } = parse(TLS_CERT_FILE, pem);
  const trust: PartialTrust = {
    ca: pem,
    allowPartialTrustChain: true,
    checkServerIdentity: (_, served) => (served.fingerprint256 === fingerprint256 ? undefined : otherCertificate()),
  };
  return trust;
}

/** For a gateway with TLS_CLIENT_CA_FILE: the pair in CLIENT_CERT_FILE and CLIENT_KEY_FILE. @throws CliFailure */
export function clientCertificate(variables: ReadonlyMap<string, Variable>): ConnectionOptions {
  const [cert, key] = (["CLIENT_CERT_FILE", "CLIENT_KEY_FILE"] as const).map((name) => {
    const path = variables.get(name)?.value;
    return path === undefined ? undefined : contentOf(name, path);
  });
  if (cert === undefined && key === undefined) return {};
  if (cert !== undefined && key !== undefined) return { cert, key };
  throw new CliFailure(2, ["CLIENT_CERT_FILE and CLIENT_KEY_FILE belong together: set both, or none."]);
}

const OTHER_CERTIFICATE = "OTHER_CERTIFICATE";

const otherCertificate = () => Object.assign(new Error("another certificate"), { code: OTHER_CERTIFICATE });

/** What to do about a failed handshake; undefined for any other error. */
export function adviceForTls(code: string): string | undefined {
  switch (code) {
    case OTHER_CERTIFICATE:
      return "its certificate is not the one in TLS_CERT_FILE of this folder. Is it this gateway, and has it read the file?";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return `its certificate is not trusted here (${code}). Set NODE_EXTRA_CA_CERTS to the PEM file of its authority, or of the certificate itself.`;
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "its certificate is for another name. Use that name in --url.";
    case "CERT_HAS_EXPIRED":
      return "its certificate has expired, or this machine's clock is wrong.";
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return "it does not speak TLS. Begin the URL with http://.";
    case "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED":
      return "it needs a client certificate. Set CLIENT_CERT_FILE and CLIENT_KEY_FILE.";
    default:
      return undefined;
  }
}

function contentOf(variable: string, path: string): string {
  const reading = readTextFile(path);
  if (reading.state === "read") return reading.text;
  const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
  throw new CliFailure(1, [`${variable} ${path} cannot be read: ${reason}.`]);
}

function parse(path: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new CliFailure(1, [`TLS_CERT_FILE ${path} holds no certificate.`]);
  }
}
