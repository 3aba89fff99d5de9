/** The feed behind `/manage/events`, without a socket: what readers lose, and what is never built. */
import { describe, expect, test } from "vitest";
import { EventFeed, type EventFeedOptions } from "../../src/telemetry/event-feed.ts";
import { accessLineOf } from "../support/access-line.ts";
import { parseEvents, type ReceivedEvent } from "../support/event-stream.ts";

/** A feed that counts how many exchanges were formatted. */
function createFeed(options: Partial<EventFeedOptions> = {}) {
  let formatted = 0;
  const maskKeys = (text: string) => {
    formatted++;
    return text;
  };
  const feed = new EventFeed({ maskKeys, ...options });
  const open = () => {
    const stream = feed.open({ filter: {}, digest: undefined, isAllowed: () => true, cut: () => {} });
    return (stream as ReadableStream<Uint8Array>).getReader();
  };
  return { feed, open, formatted: () => formatted };
}

type Reader = ReturnType<ReturnType<typeof createFeed>["open"]>;

/** Reads until the end of the text passes the test, or until the stream has ended. */
async function readUntil(reader: Reader, isEnough: (text: string) => boolean): Promise<string> {
  const decoder = new TextDecoder();
  const chunks: string[] = [];
  let end = "";
  while (!isEnough(end)) {
    const { done, value } = await reader.read();
    if (done) break;
    const chunk = decoder.decode(value, { stream: true });
    chunks.push(chunk);
    end = end.slice(-100) + chunk;
  }
  return chunks.join("");
}

const lostIn = (events: readonly ReceivedEvent[]) =>
  events.filter(({ event }) => event === "lost").reduce((sum, { data }) => sum + data.count, 0);

describe("The event feed", () => {
  test("A reader that stops reading loses events, receives their number at their place, and costs bounded memory", async () => {
    const { feed, open } = createFeed();
    const reader = open();
    await readUntil(reader, (text) => text !== "");
    for (let i = 0; i < 100_000; i++) feed.exchange(accessLineOf(`r${i}`));
    const first = await readUntil(reader, (text) => text.includes("event: lost"));
    for (let i = 100_000; i < 100_010; i++) feed.exchange(accessLineOf(`r${i}`));
    const rest = await readUntil(reader, (text) => text.includes("r100009"));
    const events = parseEvents(first + rest);
    const received = events.filter(({ event }) => event === "request");
    expect(received.length + lostIn(events)).toBe(100_010);
    expect(received.length).toBeLessThan(5_000);
    expect(first.length).toBeLessThan(3 * 1024 * 1024);
    // In order, with one gap where the number of lost events is.
    const at = events.findIndex(({ event }) => event === "lost");
    expect(events[at - 1]?.data.requestId).toBe(`r${at - 1}`);
    expect(events[at + 1]?.data.requestId).toBe(`r${at + events[at]?.data.count}`);
    await reader.cancel();
  });

  test("Very long paths fill a reader's buffer sooner", async () => {
    const { feed, open } = createFeed();
    const reader = open();
    await readUntil(reader, (text) => text !== "");
    const url = `/proxy/api/${"x".repeat(16_000)}`;
    for (let i = 0; i < 1_000; i++) feed.exchange(accessLineOf(`r${i}`, { url }));
    const text = await readUntil(reader, (text) => text.includes("event: lost"));
    expect(text.length).toBeLessThan(1.2 * 1024 * 1024);
    const events = parseEvents(text);
    expect(events.length - 1 + lostIn(events)).toBe(1_000);
    await reader.cancel();
  });

  test("A slow reader takes no event from others, and an event is formatted once for all", async () => {
    const { feed, open, formatted } = createFeed();
    const slow = open();
    const readers = Array.from({ length: 9 }, open);
    const texts = readers.map((reader) => readUntil(reader, (text) => text.includes('"r9999"')));
    for (let i = 0; i < 10_000; i += 50) {
      for (let j = i; j < i + 50; j++) feed.exchange(accessLineOf(`r${j}`));
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const text of await Promise.all(texts)) {
      const events = parseEvents(text);
      expect(events).toHaveLength(10_000);
      expect(lostIn(events)).toBe(0);
    }
    expect(formatted()).toBe(10_000);
    const events = parseEvents(await readUntil(slow, (text) => text.includes("event: lost")));
    expect(events.length - 1 + lostIn(events)).toBe(10_000);
    for (const reader of [slow, ...readers]) await reader.cancel();
  });

  test("Without a reader nothing is built, before the first and after the last one", async () => {
    const { feed, open, formatted } = createFeed();
    const unread = Object.defineProperty({}, "toJSON", {
      value: () => {
        throw new Error("it was formatted");
      },
    });
    feed.exchange(accessLineOf("one"));
    feed.notice("change", unread);
    expect(feed.hasReaders).toBe(false);
    const reader = open();
    expect(feed.hasReaders).toBe(true);
    await reader.cancel();
    expect(feed.hasReaders).toBe(false);
    feed.exchange(accessLineOf("two"));
    feed.notice("change", unread);
    expect(formatted()).toBe(0);
  });

  test("A silent stream has a comment from time to time", async () => {
    const { open } = createFeed({ heartbeatMs: 5 });
    const reader = open();
    const text = await readUntil(reader, (text) => text.endsWith("\n\n:\n\n:\n\n"));
    expect(parseEvents(text)).toEqual([]);
    await reader.cancel();
  });

  test("A reader whose key has ended receives nothing that waited for it", async () => {
    const { feed } = createFeed();
    let isAllowed = true;
    let cuts = 0;
    const stream = feed.open({
      filter: {},
      digest: "digest",
      isAllowed: () => isAllowed,
      cut: () => {
        cuts++;
      },
    });
    feed.exchange(accessLineOf("before"));
    feed.recheck("digest");
    isAllowed = false;
    feed.recheck("another");
    feed.exchange(accessLineOf("still-allowed"));
    feed.recheck("digest");
    feed.exchange(accessLineOf("after"));
    const text = await readUntil((stream as ReadableStream<Uint8Array>).getReader(), () => false);
    expect(parseEvents(text)).toEqual([{ event: "end", data: { reason: "key-ended" } }]);
    expect([feed.hasReaders, cuts]).toEqual([false, 0]);
  });
});
