/** Fetches a small JSON document for the gateway itself: through `dial`, bounded in time and size, without redirects. */
import { type IncomingMessage, request } from "node:http";
import type { ProxyUse } from "../../config/egress-proxy.ts";
import { createDial, createDialAgent } from "./egress.ts";
import type { EgressPolicy } from "./egress-policy.ts";
import { explainFailure } from "./failures.ts";

const TIMEOUT_MS = 5_000;
const BYTES_LIMIT = 1024 * 1024;

export interface FetchOptions {
  readonly isTlsStrict: boolean;
  readonly egress: EgressPolicy;
  readonly proxyUse: ProxyUse | undefined;
}

/** @throws Error with a message that contains nothing of the response. */
export async function fetchJson(url: string, { isTlsStrict, egress, proxyUse }: FetchOptions): Promise<unknown> {
  const { origin, host, pathname, search } = new URL(url);
  const service = { key: host, connectTimeoutMs: TIMEOUT_MS, tls: {} };
  const agent = createDialAgent(createDial({ service, pem: {}, isTlsStrict, egress, proxyUse }), origin);
  const headers = { Host: host, Accept: "application/json", "User-Agent": "ByteProxy/1" };
  const asking = request({ agent, path: pathname + search, headers });
  asking.end();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no response within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  });
  try {
    return JSON.parse(await Promise.race([bodyOf(asking), timeout]));
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error("the response is not JSON");
    throw (error as NodeJS.ErrnoException).code === undefined ? error : explainFailure(error as Error, service);
  } finally {
    clearTimeout(timer);
    asking.destroy();
    agent.destroy();
  }
}

function bodyOf(asking: ReturnType<typeof request>): Promise<string> {
  return new Promise((resolve, reject) => {
    // Never removed: an error after the time limit must not be thrown.
    asking.on("error", reject);
    asking.on("upgrade", (_, socket) => {
      socket.destroy();
      reject(new Error("the response switched protocols"));
    });
    asking.on("close", () => reject(new Error("the connection ended without a response")));
    asking.once("response", (response: IncomingMessage) => {
      if (response.statusCode !== 200) return reject(new Error(`the response was ${response.statusCode}`));
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > BYTES_LIMIT) reject(new Error("the response is too large"));
      });
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
  });
}
