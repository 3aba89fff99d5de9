/** Frame boundaries are found for every division of the stream into chunks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameReader } from "../../../../src/data-plane/forward/websocket/frame-reader.ts";

interface Frame {
  readonly opcode: number;
  readonly length: number;
  readonly isMasked: boolean;
}

function encode({ opcode, length, isMasked }: Frame): Buffer {
  const mask = isMasked ? 0x80 : 0;
  let head: Buffer;
  if (length < 126) head = Buffer.from([0x80 | opcode, mask | length]);
  else if (length < 65_536) head = Buffer.from([0x80 | opcode, mask | 126, length >> 8, length & 0xff]);
  else {
    head = Buffer.alloc(10);
    head[0] = 0x80 | opcode;
    head[1] = mask | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  // The payload contains bytes that look like frame headers.
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0, 0x88), Buffer.alloc(length, 0x88)]);
}

const frame = fc.record({
  opcode: fc.constantFrom(0, 1, 2, 9, 10),
  length: fc.oneof(fc.integer({ min: 0, max: 200 }), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000)),
  isMasked: fc.boolean(),
});

describe("frame reader", () => {
  test("The frame reader finds each frame's end for every division of the stream into chunks", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 20 }),
        (frames, sizes) => {
          const encoded = frames.map(encode);
          const stream = Buffer.concat(encoded);
          const ends = new Set<number>();
          let total = 0;
          for (const { length } of encoded) {
            total += length;
            ends.add(total);
          }
          const reader = new FrameReader();
          for (let at = 0, i = 0; at < stream.length; i++) {
            const chunk = stream.subarray(at, at + (sizes[i % sizes.length] as number));
            const found = reader.read(chunk);
            const first = [...ends].find((end) => end > at && end <= at + chunk.length);
            expect(found).toBe(first === undefined ? -1 : first - at);
            at += chunk.length;
            expect(reader.isAtBoundary).toBe(ends.has(at));
          }
          expect(reader.hasSeenClose).toBe(false);
        },
      ),
    );
  });

  test("The frame reader finds a close frame, and ignores one inside a payload", () => {
    const reader = new FrameReader();
    reader.read(encode({ opcode: 2, length: 500, isMasked: false }));
    expect(reader.hasSeenClose).toBe(false);
    reader.read(encode({ opcode: 8, length: 2, isMasked: true }));
    expect(reader.hasSeenClose).toBe(true);
    expect(reader.isAtBoundary).toBe(true);
  });
});
