/**
 * A long list as JSON, in chunks: 100,000 keys are tens of megabytes, and other requests are served between two chunks.
 * Invariant: the bytes are those of `{"<name>":[…],"count":n}` in one piece.
 */
import { setImmediate } from "node:timers/promises";

export interface ChunkedList<T> {
  /** The member that holds the list. */
  readonly name: string;
  readonly items: readonly T[];
  readonly show: (item: T) => unknown;
  /** Items in one chunk. */
  readonly chunk: number;
}

export function listInChunks<T>({ name, items, show, chunk }: ChunkedList<T>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let next = 0;
  return new ReadableStream({
    async pull(controller) {
      await setImmediate();
      const texts = items.slice(next, next + chunk).map((item) => JSON.stringify(show(item)));
      const isLast = next + chunk >= items.length;
      const prefix = next === 0 ? `{${JSON.stringify(name)}:[` : ",";
      controller.enqueue(encoder.encode(`${prefix}${texts.join(",")}${isLast ? `],"count":${items.length}}` : ""}`));
      next += chunk;
      if (isLast) controller.close();
    },
  });
}
