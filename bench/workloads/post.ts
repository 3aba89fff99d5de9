/** POST of 16 KiB with a Content-Length; the origin returns the body. */
import { BODY_BYTES, BODY_COUNT, createBody } from "./contents.ts";
import { type Exchange, ExchangeClient } from "./exchange.ts";
import { requestHead } from "./head.ts";
import type { CreateClient, Target, Workload } from "./workload.ts";

export const post: Workload = {
  name: "post",
  title: "POST, 16 KiB each way",
  unit: "request",
  contestants: ["gateway", "against", "undici", "http-proxy-3", "fastify-http-proxy", "http-proxy-middleware", "nginx"],
  goals: [
    { than: "undici", atMost: 0.8 },
    { than: "http-proxy-3", atMost: 0.72 },
    { than: "nginx", atMost: 1.3, isStretch: true },
  ],
  isLongLived: false,
  prepare: preparePost,
};

function preparePost(target: Target): CreateClient {
  const head = requestHead("POST /echo", target, [
    "Content-Type: application/octet-stream",
    `Content-Length: ${BODY_BYTES}`,
    "Connection: keep-alive",
  ]);
  const exchanges = Array.from({ length: BODY_COUNT }, (_, number): Exchange => {
    const body = createBody(number);
    return { request: Buffer.concat([Buffer.from(head), body]), body };
  });
  return (number, wire) => new ExchangeClient(exchanges, number, wire);
}
