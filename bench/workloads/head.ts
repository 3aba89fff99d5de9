/** The heads of requests and responses. */
import type { Target } from "./workload.ts";

const END_OF_HEAD = Buffer.from("\r\n\r\n");

/** The head of a request like that of an SDK: eight headers, a key. */
export function requestHead(requestLine: string, target: Target, more: readonly string[] = []): string {
  const [method, path] = requestLine.split(" ");
  return [
    `${method} ${target.prefix}${path} HTTP/1.1`,
    `Host: 127.0.0.1:${target.port}`,
    `Authorization: Bearer ${target.apiKey}`,
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.8",
    "User-Agent: example-sdk/4.2.0 (linux; x64) node/20.20.0",
    "X-Sdk-Version: 4.2.0",
    ...(more.length > 0 ? more : ["Connection: keep-alive"]),
    "",
    "",
  ].join("\r\n");
}

export interface ResponseHead {
  readonly text: string;
  /** Holds the first bytes of the body, from `bodyStart` on. */
  readonly buffer: Buffer;
  readonly bodyStart: number;
}

/** Collects a response until its head is complete. */
export class HeadReader {
  #begun: Buffer | undefined;

  /** @returns undefined if the head continues in the next chunk. @throws if its status is another one. */
  read(chunk: Buffer, status: number): ResponseHead | undefined {
    const buffer = this.#begun === undefined ? chunk : Buffer.concat([this.#begun, chunk]);
    const end = buffer.indexOf(END_OF_HEAD);
    this.#begun = end < 0 ? buffer : undefined;
    if (end < 0) return undefined;
    const text = buffer.toString("latin1", 0, end);
    if (!text.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`expected ${status}, got:\n${text}`);
    return { text, buffer, bodyStart: end + END_OF_HEAD.length };
  }
}
