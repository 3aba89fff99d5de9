/** Fetches a small JSON document for the gateway itself. */
import { exchangeSmall, type WayOut } from "./small-exchange.ts";

const TIMEOUT_MS = 5_000;
const BYTES_LIMIT = 1024 * 1024;

/** @throws Error with a message that contains nothing of the response. */
export async function fetchJson(url: string, way: WayOut): Promise<unknown> {
  const headers = { Accept: "application/json" };
  const request = { method: "GET", headers, timeoutMs: TIMEOUT_MS, bytesLimit: BYTES_LIMIT } as const;
  const { status, text } = await exchangeSmall(url, request, way);
  if (status !== 200) throw new Error(`the response was ${status}`);
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("the response is not JSON");
  }
}
