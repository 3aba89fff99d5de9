/** The origin, over http or over https with a certificate that is made for this run. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Processes, RunningServer } from "./processes.ts";

export interface Origin extends RunningServer {
  readonly url: string;
  /** The authority that its certificate is verified against; undefined for http. */
  readonly caFile: string | undefined;
}

/** @param compiled the folder with the compiled benchmark. */
export async function startOrigin(processes: Processes, compiled: string, isSecure: boolean): Promise<Origin> {
  const file = join(compiled, "origin.js");
  if (!isSecure) {
    const server = await processes.startServer(file);
    return { ...server, url: `http://127.0.0.1:${server.port}`, caFile: undefined };
  }
  const { certFile, keyFile } = createCertificate(processes.folder);
  const server = await processes.startServer(file, certFile, keyFile);
  return { ...server, url: `https://127.0.0.1:${server.port}`, caFile: certFile };
}

/** The certificate is self-signed, so that it is also its own authority. */
function createCertificate(folder: string): { certFile: string; keyFile: string } {
  const [certFile, keyFile] = [join(folder, "origin.pem"), join(folder, "origin-key.pem")];
  const args = [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
    ...["-subj", "/CN=origin of the benchmark", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-keyout", keyFile, "-out", certFile],
  ];
  try {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    throw new Error("openssl could not make the certificate of the https origin; is it installed?", { cause: error });
  }
  return { certFile, keyFile };
}
