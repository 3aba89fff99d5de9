/** WebSocket frames as bytes, for tests that write and read them by hand (RFC 6455 section 5.2). */
import { randomBytes } from "node:crypto";

export interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly isFinal: boolean;
}

/** As a client sends it: masked. */
export function clientFrame({ opcode, payload, isFinal }: Frame): Buffer {
  const { length } = payload;
  const first = (isFinal ? 0x80 : 0) | opcode;
  const mask = randomBytes(4);
  const bytes = payload.map((byte, i) => byte ^ (mask[i & 3] as number));
  if (length < 126) return Buffer.concat([Buffer.from([first, 0x80 | length]), mask, bytes]);
  const head = Buffer.alloc(length < 65_536 ? 4 : 10);
  head[0] = first;
  head[1] = 0x80 | (length < 65_536 ? 126 : 127);
  if (length < 65_536) head.writeUInt16BE(length, 2);
  else head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, mask, bytes]);
}

export function textFrame(text: string): Buffer {
  return clientFrame({ opcode: 1, payload: Buffer.from(text), isFinal: true });
}

/** Of either side, without the masks. @param bytes whole frames. */
export function readFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    const short = second & 0x7f;
    let start = at + 2;
    let length = short;
    if (short === 126) length = bytes.readUInt16BE(start);
    if (short === 127) length = Number(bytes.readBigUInt64BE(start));
    start += short === 126 ? 2 : short === 127 ? 8 : 0;
    const isMasked = (second & 0x80) !== 0;
    const mask = isMasked ? bytes.subarray(start, start + 4) : Buffer.alloc(4);
    start += isMasked ? 4 : 0;
    const payload = Buffer.from(bytes.subarray(start, start + length).map((byte, i) => byte ^ (mask[i & 3] as number)));
    if (payload.length < length) throw new Error("not a whole frame");
    frames.push({ opcode: first & 0x0f, payload, isFinal: (first & 0x80) !== 0 });
    at = start + length;
  }
  return frames;
}
