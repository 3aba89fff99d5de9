/** A response of 16 MiB in chunks of a given size: an upstream with tiny chunks must not cost the gateway much memory. */
import { connect } from "node:net";
import { API_KEY, type RunningGateway } from "./gateway.ts";
import { type MemorySample, sampleMemory } from "./sample-memory.ts";
import { ChunkedBody } from "./workloads/chunked-body.ts";
import { expectBytes } from "./workloads/expect-bytes.ts";
import { HeadReader, requestHead } from "./workloads/head.ts";

export const CHUNKED_BODY_BYTES = 16 * 2 ** 20;
/** A longer transfer counts as hung. */
const TRANSFER_TIMEOUT_MS = 120_000;

export interface ChunkedBodyMemory extends MemorySample {
  readonly chunkBytes: number;
}

/** Receives the response and compares every byte. */
export async function measureChunks({ pid, port }: RunningGateway, chunkBytes: number): Promise<ChunkedBodyMemory> {
  const target = { port, prefix: "/proxy/origin", apiKey: API_KEY };
  const request = requestHead(`GET /chunks/${CHUNKED_BODY_BYTES}/${chunkBytes}`, target);
  return { chunkBytes, ...(await sampleMemory(pid, () => receive(port, request))) };
}

function receive(port: number, request: string): Promise<void> {
  const expected = Buffer.alloc(CHUNKED_BODY_BYTES, "x");
  const head = new HeadReader();
  let received = 0;
  let hasHead = false;
  const body = new ChunkedBody((part) => {
    expectBytes(part, expected, received);
    received += part.to - part.from;
  });
  const onData = (chunk: Buffer) => {
    if (hasHead) return body.write(chunk, 0);
    const read = head.read(chunk, 200);
    hasHead = read !== undefined;
    if (read !== undefined) body.write(read.buffer, read.bodyStart);
  };
  return new Promise<void>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const end = (error?: Error) => {
      socket.destroy();
      if (error !== undefined) return reject(error);
      if (received === expected.length) return resolve();
      reject(new Error(`expected ${expected.length} bytes in chunks, got ${received}`));
    };
    socket.on("data", (chunk) => {
      try {
        onData(chunk);
        if (body.isEnded) end();
      } catch (error) {
        end(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on("error", end);
    socket.on("close", () => end());
    socket.setTimeout(TRANSFER_TIMEOUT_MS, () => end(new Error("the response in chunks took too long")));
    socket.write(request);
  });
}
