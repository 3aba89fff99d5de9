/**
 * The embedded upstream `echo`: responds to any request with a description of it, which shows what the gateway sends upstream.
 * Invariant: it listens on a Unix socket in a folder of mode 0700, and shows no injected secret.
 */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SecretMask } from "./telemetry/redact.ts";

export interface EchoUpstream {
  readonly socketPath: string;
  close(): Promise<void>;
}

export async function createEchoUpstream(mask: SecretMask): Promise<EchoUpstream> {
  const folder = await mkdtemp(join(tmpdir(), "byteproxy-"));
  const socketPath = join(folder, "echo.sock");
  const server = createServer((req, res) => echo(req, res, mask));
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, resolve);
  });
  return {
    socketPath,
    async close() {
      server.close();
      server.closeAllConnections();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function echo(req: IncomingMessage, res: ServerResponse, mask: SecretMask): void {
  const digest = createHash("sha256");
  let size = 0;
  req.on("data", (chunk: Buffer) => {
    size += chunk.length;
    digest.update(chunk);
  });
  req.on("end", () => {
    const url = req.url ?? "/";
    const [path = "/"] = url.split("?", 1);
    const report = {
      method: req.method,
      url,
      path,
      query: parametersOf(url.slice(path.length + 1)),
      headers: req.headers,
      body: { size, sha256: digest.digest("hex") },
    };
    const text = mask(`${JSON.stringify(report, null, 2)}\n`);
    res.writeHead(200, {
      "Content-Type": "application/json; charset=utf-8",
      "Content-Length": Buffer.byteLength(text),
    });
    res.end(text);
  });
}

/** Decoded, with a repeated parameter as a list. The member `url` has the raw text. */
function parametersOf(query: string): Record<string, string | string[]> {
  const parameters: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(query)) {
    const seen = parameters[name];
    parameters[name] = seen === undefined ? value : [seen, value].flat();
  }
  return parameters;
}
