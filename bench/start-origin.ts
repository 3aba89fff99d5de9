/** The origin, over http or over https with a certificate that is made for this run. */
import { join } from "node:path";
import { createCertificate } from "./certificate.ts";
import type { Processes, RunningServer } from "./processes.ts";

export interface Origin extends RunningServer {
  readonly url: string;
  /** The authority that its certificate is verified against; undefined for http. */
  readonly caFile: string | undefined;
}

/** @param compiled the folder with the compiled benchmark. */
export async function startOrigin(processes: Processes, compiled: string, isSecure: boolean): Promise<Origin> {
  const certificate = isSecure ? createCertificate(processes.folder, "origin") : undefined;
  const server = await processes.startServer(join(compiled, "origin.js"), { certificate });
  const scheme = isSecure ? "https" : "http";
  return { ...server, url: `${scheme}://127.0.0.1:${server.port}`, caFile: certificate?.certFile };
}
