/** What `scrubBodies` does for the requests of one service. */
import { SHORTEST_SEARCHED_SECRET } from "../echo-mask.ts";
import { deriveFrom } from "../live-secrets.ts";
import type { ResponseSink } from "../response-sink.ts";
import type { ResponseHeaders } from "../transport/response-fields.ts";
import { createScanner, type Scanner } from "./scanner.ts";
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
  const tags = new EntityTags();
  /** By the secrets at the beginning of a body: bodies that began with the same secrets share a scanner. */
  const scanners = new WeakMap<readonly string[], () => Scanner | undefined>();
  /** A long body may repeat a secret that was renewed while it streams, or the one before it. */
  const scannerSince = (first: readonly string[]) => {
    const known = scanners.get(first);
    if (known !== undefined) return known;
    const scanner = deriveFrom(secrets, (now) => scannerOf(now === first ? first : [...new Set([...first, ...now])]));
    scanners.set(first, scanner);
    return scanner;
  };
  return {
    createSink: (next, exchange, deadline) =>
      new ScrubSink(next, { exchange, deadline, serviceKey, scanner: scannerSince(secrets()), tags }),
    scrubInterim: (headers) => scrubFields(headers, true, tags),
    restoreConditions: (headers) => tags.restore(headers),
  };
}

function scannerOf(secrets: readonly string[]): Scanner | undefined {
  return createScanner(secrets.filter((secret) => Buffer.byteLength(secret) >= SHORTEST_SEARCHED_SECRET));
}
