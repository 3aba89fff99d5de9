/** What `scrubBodies` does for the requests of one service. */
import { SHORTEST_SEARCHED_SECRET } from "../echo-mask.ts";
import { deriveFrom } from "../live-secrets.ts";
import type { ResponseSink } from "../response-sink.ts";
import type { ResponseHeaders } from "../transport/response-fields.ts";
import { createScanner } from "./scanner.ts";
import { type ScrubbedDeadline, type ScrubbedExchange, ScrubSink } from "./scrub-sink.ts";
import { EntityTags, scrubFields } from "./scrubbed-fields.ts";

export interface BodyScrub {
  /** @param next what the response goes to, masked. */
  createSink(next: ResponseSink, exchange: ScrubbedExchange, deadline: ScrubbedDeadline): ResponseSink;
  /** Changes the headers of an interim response in place into those for the client. */
  scrubInterim(headers: ResponseHeaders): void;
  /** Changes the conditions of a request into those that the upstream knows. @param headers a flat list. */
  restoreConditions(headers: string[]): void;
}

/** @param secrets as they are injected. Those of fewer than 8 bytes are not searched, because they also occur by chance. */
export function createBodyScrub(serviceKey: string, secrets: () => readonly string[]): BodyScrub {
  const currentScanner = deriveFrom(secrets, (all) =>
    createScanner(all.filter((secret) => Buffer.byteLength(secret) >= SHORTEST_SEARCHED_SECRET)),
  );
  const tags = new EntityTags();
  return {
    createSink: (next, exchange, deadline) =>
      new ScrubSink(next, { exchange, deadline, serviceKey, scanner: currentScanner(), tags }),
    scrubInterim: (headers) => scrubFields(headers, true, tags),
    restoreConditions: (headers) => tags.restore(headers),
  };
}
