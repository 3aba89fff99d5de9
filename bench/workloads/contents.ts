/**
 * What the origin sends, computed alike by the origin and by the load, which compares every byte.
 * Invariant: neighbouring items, bodies, events and messages differ, so that swapped ones are recognized.
 */

export const ITEM_COUNT = 64;
export const BODY_BYTES = 16 * 1024;
export const BODY_COUNT = 8;
export const DOCUMENT_COUNT = 8;
export const EVENT_COUNT = 1000;
export const MESSAGE_COUNT = 256;
const MESSAGE_BYTES = 64;

/** JSON of ordinary size. */
export function createItem(id: number): Buffer {
  return Buffer.from(
    JSON.stringify({
      id,
      name: "An item of ordinary size",
      tags: ["alpha", "beta", "gamma"],
      owner: { id: 7, login: "octocat", url: "https://api.example.com/users/octocat" },
      description: "word ".repeat(150).trim(),
      createdAt: "2026-01-01T00:00:00Z",
      updatedAt: "2026-01-02T03:04:05Z",
    }),
  );
}

/** A list of items, cut at 16 KiB. */
export function createDocument(number: number): Buffer {
  const items = Array.from({ length: 20 }, (_, i) => createItem(number * 20 + i).toString());
  return Buffer.from(`[${items.join(",")}`).subarray(0, BODY_BYTES);
}

/** 16 KiB that the client sends and the origin returns. */
export function createBody(number: number): Buffer {
  const body = Buffer.alloc(BODY_BYTES);
  for (let at = 0; at < BODY_BYTES; at += 4) body.writeInt32LE(Math.imul(number * BODY_BYTES + at + 1, 0x9e3779b1), at);
  return body;
}

/** The events of a stream; after the last one the stream begins again. All have the same length. */
export function createEvents(): Buffer[] {
  return Array.from({ length: EVENT_COUNT }, (_, number) => {
    const id = String(number).padStart(4, "0");
    const delta = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: `word ${id} ` } };
    return Buffer.from(`event: content_block_delta\nid: ${id}\ndata: ${JSON.stringify(delta)}\n\n`);
  });
}

/** The text of a WebSocket message. */
export function createMessage(number: number): Buffer {
  return Buffer.from(`message ${String(number).padStart(3, "0")} `.padEnd(MESSAGE_BYTES, "small text "));
}
