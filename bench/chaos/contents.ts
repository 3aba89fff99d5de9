/**
 * The body of each request and of its response. Both sides compute it from the request's number, so that a body that is cut, mixed up
 * or from another request is recognized.
 */

/** A request's number is the last segment of its path. */
export function idOf(url: string): string {
  return url.slice(url.lastIndexOf("/") + 1);
}

/** 100 bytes to some 10 KB, or an event stream. */
export function responseTo(url: string): string {
  const id = idOf(url);
  if (url.includes("/events/")) return eventsOf(id).join("");
  return `response ${id}\n`.repeat(10 + (Number(id) % 7) * 100);
}

/** Most are small; every fifth is larger than the gateway buffers for a retry. */
export function uploadOf(id: string): string {
  return `upload ${id}\n`.repeat(Number(id) % 5 === 0 ? 10_000 : 50);
}

/** A stream of four events. */
export function eventsOf(id: string): string[] {
  return ["one", "two", "three", "end"].map((word) => `data: ${word} of ${id}\n\n`);
}
