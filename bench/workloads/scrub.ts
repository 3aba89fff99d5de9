/** GET of a JSON document of 16 KiB from a service with `scrubBodies`, compared with the same gateway without it. */
import { createDocument, DOCUMENT_COUNT } from "./contents.ts";
import { type Exchange, ExchangeClient } from "./exchange.ts";
import { requestHead } from "./head.ts";
import type { CreateClient, Target, Workload } from "./workload.ts";

export const scrub: Workload = {
  name: "scrub",
  title: "GET of 16 KiB, searched for secrets",
  unit: "request",
  contestants: ["gateway", "plain"],
  goals: [{ than: "plain", atMost: 1.15 }],
  isLongLived: false,
  option: "scrubBodies",
  prepare: prepareDocuments,
};

function prepareDocuments(target: Target): CreateClient {
  const exchanges = Array.from({ length: DOCUMENT_COUNT }, (_, number): Exchange => {
    return { request: Buffer.from(requestHead(`GET /documents/${number}`, target)), body: createDocument(number) };
  });
  return (number, wire) => new ExchangeClient(exchanges, number, wire);
}
