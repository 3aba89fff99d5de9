/**
 * What each request sends and is to be answered, worked out from its number on both sides: so a body that is cut, mixed up or
 * somebody else's is known for what it is.
 */

/** A request's number is the last segment of its path. */
export function idOf(url: string): string {
  return url.slice(url.lastIndexOf("/") + 1);
}

/** 100 bytes to some 10 KB, or an event stream. */
export function answerTo(url: string): string {
  const id = idOf(url);
  if (url.includes("/events/")) return eventsOf(id).join("");
  return `answer ${id}\n`.repeat(10 + (Number(id) % 7) * 100);
}

/** Most are small; every fifth is larger than what the gateway takes in hand to send it again. */
export function uploadOf(id: string): string {
  return `upload ${id}\n`.repeat(Number(id) % 5 === 0 ? 10_000 : 50);
}

/** An event stream of four. */
export function eventsOf(id: string): string[] {
  return ["one", "two", "three", "end"].map((word) => `data: ${word} of ${id}\n\n`);
}
