/** What an upstream receives of a client's frames, for every sequence of frames and every division into chunks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClientMessages, MESSAGE_LIMIT } from "../../../../src/data-plane/forward/websocket/client-messages.ts";
import { clientFrame, type Frame, readFrames } from "../../../support/frames.ts";

const OLD = "secret-place";
const NEW = "a longer text in its place";

/** Replaces text messages that contain OLD. @param isLate by a promise. */
function createReader(isLate = false) {
  const sent: Buffer[] = [];
  const faults: string[] = [];
  const messages = new ClientMessages({
    replace(message) {
      const text = message.toString("latin1");
      if (!text.includes(OLD)) return undefined;
      const replaced = Buffer.from(text.replace(OLD, NEW), "latin1");
      return isLate ? Promise.resolve(replaced) : replaced;
    },
    send: (bytes) => sent.push(Buffer.from(bytes)),
    fail: (fault) => faults.push(fault),
  });
  return { messages, faults, sent: () => Buffer.concat(sent) };
}

/** One message in frames, with control frames between them. */
interface Message {
  readonly opcode: 1 | 2;
  readonly payload: Buffer;
  /** Where the payload is divided. */
  readonly cuts: readonly number[];
  readonly pings: number;
}

const payload = fc.oneof(
  fc.string({ maxLength: 150 }).map((text) => Buffer.from(text)),
  fc.string({ maxLength: 150 }).map((text) => Buffer.from(`${text}${OLD}`)),
  fc.constantFrom(125, 126, 127, 65_000, 65_536, 70_000).map((length) => Buffer.alloc(length, OLD)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
);

const message: fc.Arbitrary<Message> = fc.record({
  opcode: fc.constantFrom(1 as const, 2 as const),
  payload,
  cuts: fc.array(fc.nat({ max: 70_000 }), { maxLength: 4 }),
  pings: fc.nat({ max: 2 }),
});

function framesOf({ opcode, payload: whole, cuts, pings }: Message): Frame[] {
  const ends = [...cuts.map((cut) => Math.min(cut, whole.length)).sort((a, b) => a - b), whole.length];
  const frames: Frame[] = [];
  let from = 0;
  for (const [i, end] of ends.entries()) {
    if (i > 0) for (let n = 0; n < pings; n++) frames.push({ opcode: 9, payload: Buffer.from([i, n]), isFinal: true });
    const isFinal = i === ends.length - 1;
    frames.push({ opcode: i === 0 ? opcode : 0, payload: whole.subarray(from, end), isFinal });
    from = end;
  }
  return frames;
}

/** Without the masks. */
const shown = (frames: readonly Frame[]) =>
  frames.map(({ opcode, payload: bytes, isFinal }) => `${opcode} ${isFinal} ${bytes.toString("latin1")}`);

function expected(one: Message): { readonly data: string[]; readonly controls: string[] } {
  const frames = framesOf(one);
  const size = frames.filter(({ opcode }) => opcode < 8).reduce((sum, frame) => sum + clientFrame(frame).length, 0);
  const text = one.payload.toString("latin1");
  const isReplaced = one.opcode === 1 && size <= MESSAGE_LIMIT && text.includes(OLD);
  const replaced = { opcode: 1, payload: Buffer.from(text.replace(OLD, NEW), "latin1"), isFinal: true };
  const isControl = ({ opcode }: Frame) => opcode >= 8;
  return {
    data: shown(isReplaced ? [replaced] : frames.filter((frame) => !isControl(frame))),
    controls: shown(frames.filter(isControl)),
  };
}

describe("The messages of a client", () => {
  test("Every sequence of messages arrives as the model says, for every division into chunks, also with late replacements", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 1, maxLength: 12 }),
        fc.boolean(),
        async (messages, sizes, isLate) => {
          const stream = Buffer.concat(messages.flatMap(framesOf).map(clientFrame));
          const reader = createReader(isLate);
          for (let at = 0, i = 0; at < stream.length; i++) {
            const chunk = stream.subarray(at, at + (sizes[i % sizes.length] as number));
            const waiting = reader.messages.read(chunk);
            // A chunk may come although the client was paused.
            if (i % 2 === 0) await waiting;
            at += chunk.length;
          }
          await reader.messages.read(Buffer.alloc(0));
          expect(reader.faults).toEqual([]);
          const received = readFrames(reader.sent());
          expect(shown(received.filter(({ opcode }) => opcode < 8))).toEqual(messages.flatMap((m) => expected(m).data));
          expect(shown(received.filter(({ opcode }) => opcode >= 8))).toEqual(
            messages.flatMap((m) => expected(m).controls),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  test("Untouched frames are the client's own bytes, with its masks, for every division into two chunks", () => {
    const frames: Frame[] = [
      { opcode: 1, payload: Buffer.from("text"), isFinal: false },
      { opcode: 0, payload: Buffer.from(" in fragments"), isFinal: true },
      { opcode: 2, payload: Buffer.alloc(200, 7), isFinal: true },
      { opcode: 1, payload: Buffer.alloc(0), isFinal: true },
      { opcode: 10, payload: Buffer.from("pong"), isFinal: true },
      { opcode: 8, payload: Buffer.from([3, 232]), isFinal: true },
    ];
    const stream = Buffer.concat(frames.map(clientFrame));
    for (let cut = 0; cut <= stream.length; cut++) {
      const reader = createReader();
      reader.messages.read(stream.subarray(0, cut));
      reader.messages.read(stream.subarray(cut));
      expect(reader.sent().equals(stream)).toBe(true);
      expect(reader.messages.hasSeenClose).toBe(true);
    }
  });

  test("A replaced message arrives for every division into single bytes, and has another mask each time", () => {
    const stream = clientFrame({ opcode: 1, payload: Buffer.from(`"${OLD}"`), isFinal: true });
    const masks = [0, 1].map(() => {
      const reader = createReader();
      for (const byte of stream) reader.messages.read(Buffer.from([byte]));
      const received = reader.sent();
      expect(shown(readFrames(received))).toEqual([`1 true "${NEW}"`]);
      expect((received[1] as number) & 0x80).toBe(0x80);
      return received.toString("hex", 2, 6);
    });
    expect(masks[0]).not.toBe(masks[1]);
  });

  test("A ping inside a fragmented message does not wait for its end, and a close frame comes after what was held", () => {
    const reader = createReader();
    const part = clientFrame({ opcode: 1, payload: Buffer.from(OLD), isFinal: false });
    const ping = clientFrame({ opcode: 9, payload: Buffer.from("now"), isFinal: true });
    const close = clientFrame({ opcode: 8, payload: Buffer.alloc(0), isFinal: true });
    reader.messages.read(Buffer.concat([part, ping]));
    expect(reader.sent().equals(ping)).toBe(true);
    reader.messages.read(close);
    expect(reader.sent().equals(Buffer.concat([ping, part, close]))).toBe(true);
  });

  test("Fragments that never end are held up to the limit, also those without a payload, and then pass", () => {
    for (const length of [0, 1, 1_000]) {
      const reader = createReader();
      const first = clientFrame({ opcode: 1, payload: Buffer.from(OLD), isFinal: false });
      const next = clientFrame({ opcode: 0, payload: Buffer.alloc(length), isFinal: false });
      reader.messages.read(first);
      const count = Math.ceil(MESSAGE_LIMIT / next.length) + 1;
      for (let i = 0; i < count; i++) reader.messages.read(next);
      expect(reader.sent().length).toBe(first.length + count * next.length);
    }
  });

  test.each([
    ["reserved bits", [0xc1, 0x80, 0, 0, 0, 0]],
    ["reserved bits", [0xa2, 0x80, 0, 0, 0, 0]],
    ["reserved opcode", [0x83, 0x80, 0, 0, 0, 0]],
    ["reserved opcode", [0x8b, 0x80, 0, 0, 0, 0]],
    ["frame without a mask", [0x81, 0x01, 0x41]],
    ["control frame too long or fragmented", [0x09, 0x80, 0, 0, 0, 0]],
    ["control frame too long or fragmented", [0x88, 0xfe, 0, 126, 0, 0, 0, 0]],
    ["length of 2^63 or more", [0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ["continuation without a message", [0x80, 0x80, 0, 0, 0, 0]],
    ["message inside a message", [0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0]],
    ["message inside a message", [0x02, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0]],
  ])("A frame that is wrong (%s) ends the reading: nothing of it or after it is sent", (fault, bytes) => {
    const good = clientFrame({ opcode: 9, payload: Buffer.from("before"), isFinal: true });
    const wrong = Buffer.from(bytes);
    for (let cut = 0; cut < wrong.length; cut++) {
      const reader = createReader();
      reader.messages.read(Buffer.concat([good, wrong.subarray(0, cut)]));
      reader.messages.read(wrong.subarray(cut));
      reader.messages.read(good);
      expect(reader.faults).toEqual([fault]);
      const sent = reader.sent();
      // The first frame of a binary message was valid.
      expect(sent.length).toBeLessThan(good.length + wrong.length);
      expect(sent.subarray(0, good.length).equals(good)).toBe(true);
      expect(sent.subarray(good.length).equals(wrong.subarray(0, sent.length - good.length))).toBe(true);
    }
  });

  test("A frame that announces 2^62 bytes passes as it comes", () => {
    const reader = createReader();
    const header = Buffer.from([0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    reader.messages.read(Buffer.concat([header, Buffer.alloc(100_000)]));
    expect(reader.faults).toEqual([]);
    expect(reader.sent().length).toBe(header.length + 100_000);
  });
});
