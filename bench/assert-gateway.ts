/** The gateway really does what the benchmark claims: before the load, and after it. */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { API_KEY, ask, ORIGIN_TOKEN, type RunningGateway } from "./gateway.ts";
import { ITEM_COUNT } from "./workloads/contents.ts";

const KEY = { authorization: `Bearer ${API_KEY}` };
/** Responses to `assertEverythingIsOn` that come from the origin. */
const FIRST_MISSES = 2;

/**
 * Fails unless the gateway refuses a caller without the key, replaces the key by the credential, counts the request against the rate
 * limit, and does what the measured option demands: it masks the credential in the response, or responds from its cache.
 */
export async function assertEverythingIsOn(gateway: RunningGateway): Promise<void> {
  const path = "/proxy/origin/seen";
  const refused = await ask(gateway, path);
  if (refused.status !== 401)
    throw new Error(`the gateway responded with ${refused.status} to a request without a key`);
  const { status, headers, text } = await ask(gateway, path, KEY);
  if (status !== 200) throw new Error(`the gateway responded with ${status}: ${text}`);
  const token = gateway.option === "scrubBodies" ? "*".repeat(ORIGIN_TOKEN.length) : ORIGIN_TOKEN;
  if (text !== JSON.stringify({ authorization: `Bearer ${token}` }))
    throw new Error(`the gateway did not inject the credential; the origin saw ${text}`);
  if (headers.ratelimit === undefined) throw new Error("the gateway sent no RateLimit field");
  await ask(gateway, "/proxy/origin/cacheable/0", KEY);
  const { headers: second } = await ask(gateway, "/proxy/origin/cacheable/0", KEY);
  const expected = gateway.option === "cache" ? "hit" : undefined;
  if (second["x-proxy-cache"] !== expected)
    throw new Error(`expected X-Proxy-Cache ${expected}, got ${second["x-proxy-cache"]}`);
}

/** Fails unless there is an access line for each request: a gateway that drops lines is not measured. With a cache, each must be a hit. */
export async function assertLogged({ logFile, option }: RunningGateway, requests: number): Promise<void> {
  // The logger writes in batches; a second is ten of its flush intervals.
  await delay(1000);
  let [lines, hits, misses] = [0, 0, 0];
  for await (const line of createInterface({ input: createReadStream(logFile) })) {
    lines++;
    if (line.includes('"cache":"hit"')) hits++;
    else if (line.includes('"cache":"miss"')) misses++;
  }
  if (lines < requests) throw new Error(`${requests} requests, but only ${lines} lines in the access log`);
  if (option !== "cache") return;
  if (hits < requests || misses > ITEM_COUNT + FIRST_MISSES)
    throw new Error(`${requests} requests, but ${hits} hits and ${misses} misses in the access log`);
}
