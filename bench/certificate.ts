/** A certificate for the loopback address, made for this run. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

export interface Certificate {
  /** It is self-signed, so that it is also its own authority. */
  readonly certFile: string;
  readonly keyFile: string;
}

/** @param owner what the certificate is for; part of the names of its files. */
export function createCertificate(folder: string, owner: string): Certificate {
  const [certFile, keyFile] = [join(folder, `${owner}.pem`), join(folder, `${owner}-key.pem`)];
  const args = [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
    ...["-subj", `/CN=${owner} of the benchmark`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-keyout", keyFile, "-out", certFile],
  ];
  try {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    throw new Error(`openssl could not make the certificate of the ${owner}; is it installed?`, { cause: error });
  }
  return { certFile, keyFile };
}
