/** A gateway that serves TLS, and requests to it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";
import { type Issued, makeCertificate } from "./certificate.ts";
import { type GatewaySetup, startGateway } from "./gateway.ts";

export interface TlsFiles {
  readonly directory: string;
  readonly env: Record<string, string>;
  /** Writes both files, as a renewal does. */
  write(pair: Pick<Issued, "cert" | "key">): void;
}

/** A folder with a pair and, if given, an authority of client certificates. */
export function writeTlsFiles(pair: Pick<Issued, "cert" | "key">, clientCa?: Issued): TlsFiles {
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-tls-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const env: Record<string, string> = {
    TLS_CERT_FILE: join(directory, "cert.pem"),
    TLS_KEY_FILE: join(directory, "key.pem"),
  };
  const write: TlsFiles["write"] = ({ cert, key }) => {
    writeFileSync(env.TLS_CERT_FILE as string, cert);
    writeFileSync(env.TLS_KEY_FILE as string, key);
  };
  write(pair);
  if (clientCa !== undefined) {
    env.TLS_CLIENT_CA_FILE = join(directory, "clients.pem");
    writeFileSync(env.TLS_CLIENT_CA_FILE, clientCa.cert);
  }
  return { directory, env, write };
}

/** With a self-signed certificate for `localhost`. */
export async function startTlsGateway({ env, ...setup }: GatewaySetup = {}, clientCa?: Issued) {
  const pair = makeCertificate("localhost", { dns: ["localhost"] });
  const files = writeTlsFiles(pair, clientCa);
  const gateway = await startGateway({ ...setup, env: { ...files.env, ...env } });
  return { gateway, files, pair };
}

export interface TlsResponse {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** SHA-256 of the server's certificate. */
  readonly fingerprint: string;
}

/** One request on a connection of its own. The server's certificate is not verified. @throws the error of the connection. */
export function tlsRequest(
  url: string,
  { content, ...options }: RequestOptions & { content?: string } = {},
): Promise<TlsResponse> {
  return new Promise((resolve, reject) => {
    const asking = request(url, { agent: false, rejectUnauthorized: false, ...options }, (res) => {
      const { fingerprint256: fingerprint } = (
        res.socket as unknown as { getPeerCertificate(): { fingerprint256: string } }
      ).getPeerCertificate();
      text(res).then(
        (body) => resolve({ status: res.statusCode ?? 0, headers: res.headers, body, fingerprint }),
        reject,
      );
    });
    asking.on("error", reject);
    asking.end(content);
  });
}
