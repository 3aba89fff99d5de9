/**
 * One request of the gateway itself, with a small response: through `dial`, bounded in time and size, without redirects.
 * Invariant: an error's message contains nothing of the response but its status.
 */
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import type { ProxyUse } from "../../config/egress-proxy.ts";
import { createDial, createDialAgent, type DialOptions } from "./egress.ts";
import type { EgressPolicy } from "./egress-policy.ts";
import { explainFailure } from "./failures.ts";

export interface SmallRequest {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutMs: number;
  readonly bytesLimit: number;
  /** Ends it early. */
  readonly signal?: AbortSignal | undefined;
}

export interface SmallResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** How the connection is opened. */
export interface WayOut {
  /** TLS as for an upstream; undefined for a server that no service describes. */
  readonly upstreamTls?: Pick<DialOptions, "pem"> & Pick<DialOptions["service"], "tls">;
  readonly isTlsStrict: boolean;
  readonly egress: EgressPolicy;
  readonly proxyUse: ProxyUse | undefined;
}

const NO_TLS_SETTINGS = { tls: {}, pem: {} };

/** Of 1xx responses. More of them keep the gateway busy, and say nothing. */
const INTERIM_LIMIT = 32;

/** @throws Error with a message that contains nothing of the response. */
export async function exchangeSmall(
  url: string,
  { method, headers, body, timeoutMs, bytesLimit, signal }: SmallRequest,
  { upstreamTls = NO_TLS_SETTINGS, isTlsStrict, egress, proxyUse }: WayOut,
): Promise<SmallResponse> {
  signal?.throwIfAborted();
  const { origin, host, pathname, search } = new URL(url);
  const { tls, pem } = upstreamTls;
  const service = { key: host, connectTimeoutMs: timeoutMs, tls };
  const agent = createDialAgent(createDial({ service, pem, isTlsStrict, egress, proxyUse }), origin);
  const length = body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(body)) };
  const sent = { Host: host, "User-Agent": "ByteProxy/1", ...headers, ...length };
  const asking = request({ agent, method, path: pathname + search, headers: sent });
  asking.end(body);
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const ended = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no response within ${timeoutMs} ms`)), timeoutMs);
    onAbort = () => reject(new Error("the request was ended"));
    signal?.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([responseOf(asking, bytesLimit), ended]);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === undefined ? error : explainFailure(error as Error, service);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    asking.destroy();
    agent.destroy();
  }
}

function responseOf(asking: ReturnType<typeof request>, bytesLimit: number): Promise<SmallResponse> {
  return new Promise((resolve, reject) => {
    // Never removed: an error after the time limit must not be thrown.
    asking.on("error", reject);
    asking.on("upgrade", (_, socket) => {
      socket.destroy();
      reject(new Error("the response switched protocols"));
    });
    let interim = 0;
    asking.on("information", () => {
      if (++interim > INTERIM_LIMIT) reject(new Error("the response has too many interim responses"));
    });
    asking.on("close", () => reject(new Error("the connection ended without a response")));
    asking.once("response", (response: IncomingMessage) => {
      const { statusCode: status = 0, headers } = response;
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > bytesLimit) reject(new Error("the response is too large"));
        else chunks.push(chunk);
      });
      response.on("end", () => resolve({ status, headers, text: Buffer.concat(chunks).toString("utf8") }));
      response.on("error", reject);
    });
  });
}
