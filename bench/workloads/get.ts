/** GET of a small JSON document. */
import { createItem, ITEM_COUNT } from "./contents.ts";
import { type Exchange, ExchangeClient } from "./exchange.ts";
import { requestHead } from "./head.ts";
import type { CreateClient, Target, Workload } from "./workload.ts";

export const get: Workload = {
  name: "get",
  title: "GET",
  unit: "request",
  contestants: ["gateway", "against", "undici", "http-proxy-3", "fastify-http-proxy", "http-proxy-middleware", "nginx"],
  goals: [
    { than: "undici", atMost: 1.15 },
    { than: "http-proxy-3", atMost: 0.72 },
    { than: "nginx", atMost: 2, isStretch: true },
  ],
  isLongLived: false,
  prepare: prepareGet,
};

export function prepareGet(target: Target): CreateClient {
  return prepareItems(target, (id) => `/items/${id}?x=1`);
}

/** @param path the path of an item. */
export function prepareItems(target: Target, path: (id: number) => string): CreateClient {
  const exchanges = Array.from({ length: ITEM_COUNT }, (_, id): Exchange => {
    return { request: Buffer.from(requestHead(`GET ${path(id)}`, target)), body: createItem(id) };
  });
  return (number, wire) => new ExchangeClient(exchanges, number, wire);
}
