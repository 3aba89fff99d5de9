/** The header of a frame that a client sends (RFC 6455 section 5.2), and the header of a frame that the gateway writes in its place. */
import { randomFillSync } from "node:crypto";

export const OPCODE = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

export interface FrameHeader {
  readonly isFinal: boolean;
  readonly opcode: number;
  /** Bytes of the header; the last four are the mask. */
  readonly size: number;
  /** Bytes of the payload. */
  readonly length: number;
}

/** Bytes of a header that begins with these two. */
export function headerSize(second: number): number {
  const length = second & 0x7f;
  return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
}

/** @param bytes that hold the whole header at `at`. @returns what is wrong with it, as a close frame may say it. */
export function readFrameHeader(bytes: Buffer, at: number): FrameHeader | string {
  const first = bytes[at] as number;
  const second = bytes[at + 1] as number;
  const isFinal = (first & 0x80) !== 0;
  const opcode = first & 0x0f;
  const short = second & 0x7f;
  // No extension was negotiated that could give them a meaning.
  if ((first & 0x70) !== 0) return "reserved bits";
  if ((opcode > OPCODE.binary && opcode < OPCODE.close) || opcode > OPCODE.pong) return "reserved opcode";
  if ((second & 0x80) === 0) return "frame without a mask";
  if (opcode >= OPCODE.close && (!isFinal || short > 125)) return "control frame too long or fragmented";
  let length = short;
  if (short === 126) length = bytes.readUInt16BE(at + 2);
  else if (short === 127) {
    const long = bytes.readBigUInt64BE(at + 2);
    if (long >> 63n !== 0n) return "length of 2^63 or more";
    length = Number(long);
  }
  return { isFinal, opcode, size: headerSize(second), length };
}

/** Applies a mask to bytes, or removes it (RFC 6455 section 5.3). */
export function masked(payload: Buffer, mask: Buffer): Buffer {
  const result = Buffer.allocUnsafe(payload.length);
  for (let i = 0; i < payload.length; i++) result[i] = (payload[i] as number) ^ (mask[i & 3] as number);
  return result;
}

/** A whole text message in one frame, with a mask of its own. */
export function textFrame(payload: Buffer): Buffer {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const header = Buffer.alloc(2 + extended + 4);
  header[0] = 0x80 | OPCODE.text;
  header[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) header.writeUInt16BE(length, 2);
  else if (extended === 8) header.writeBigUInt64BE(BigInt(length), 2);
  const mask = header.subarray(2 + extended);
  randomFillSync(mask);
  return Buffer.concat([header, masked(payload, mask)]);
}
