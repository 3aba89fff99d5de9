/** A gigabyte each way through the gateway: measures the throughput and the growth of memory. */
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { API_KEY, type RunningGateway } from "./gateway.ts";
import { sampleMemory } from "./sample-memory.ts";

export const BIG_BODY_BYTES = 2 ** 30;
const BLOCK = Buffer.alloc(64 * 1024, "x");
/** A longer transfer counts as hung. */
const TRANSFER_TIMEOUT_MS = 120_000;

export interface BigBody {
  readonly bytesPerSecond: number;
  /** Peak of resident memory during the transfer, above its value just before, in bytes. */
  readonly growthBytes: number;
}

/** Sends 1 GiB; the origin's count must agree. */
export async function measureUpload(gateway: RunningGateway): Promise<BigBody> {
  return transferred(gateway, async () => {
    const req = send(gateway, "POST", "/upload", { "content-length": BIG_BODY_BYTES });
    let early = false;
    const answered = once(req, "response").finally(() => {
      early = true;
    });
    // A refusal may come long before the last byte; then the loop stops, and the refusal is reported.
    answered.catch(() => undefined);
    for (let sent = 0; sent < BIG_BODY_BYTES && !early; sent += BLOCK.length) {
      if (!req.write(BLOCK)) await Promise.race([once(req, "drain"), answered]);
    }
    if (!early) req.end();
    const [res] = (await answered) as [IncomingMessage];
    const text = (await res.toArray()).join("");
    if (res.statusCode !== 200 || text !== JSON.stringify({ bytes: BIG_BODY_BYTES })) {
      throw new Error(`upload: expected ${BIG_BODY_BYTES} bytes at the origin, got ${res.statusCode} ${text}`);
    }
  });
}

/** Receives 1 GiB and counts it. */
export async function measureDownload(gateway: RunningGateway): Promise<BigBody> {
  return transferred(gateway, async () => {
    const req = send(gateway, "GET", `/download/${BIG_BODY_BYTES}`, {});
    req.end();
    const [res] = (await once(req, "response")) as [IncomingMessage];
    let bytes = 0;
    res.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await once(res, "end");
    if (res.statusCode !== 200 || bytes !== BIG_BODY_BYTES) {
      throw new Error(`download: expected ${BIG_BODY_BYTES} bytes, got ${res.statusCode} and ${bytes} bytes`);
    }
  });
}

function send(gateway: RunningGateway, method: string, path: string, headers: Record<string, number>): ClientRequest {
  return request({
    host: "127.0.0.1",
    port: gateway.port,
    method,
    path: `/proxy/origin${path}`,
    headers: { ...headers, authorization: `Bearer ${API_KEY}` },
    agent: false,
    signal: AbortSignal.timeout(TRANSFER_TIMEOUT_MS),
  });
}

async function transferred(gateway: RunningGateway, transfer: () => Promise<void>): Promise<BigBody> {
  const { growthBytes, seconds } = await sampleMemory(gateway.pid, transfer);
  return { bytesPerSecond: BIG_BODY_BYTES / seconds, growthBytes };
}
