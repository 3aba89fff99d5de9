/** Sends frames of HTTP/2 (RFC 9113) that no library would send, over TLS. */
import { connect, type TLSSocket } from "node:tls";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.ts";

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const NOTHING = Buffer.alloc(0);

export interface ReceivedFrame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export interface FrameClient {
  readonly socket: TLSSocket;
  /** Newest last. */
  readonly received: ReceivedFrame[];
  send(...frames: Buffer[]): void;
  /** The error code of the last GOAWAY; undefined before one. */
  readonly goaway: number | undefined;
  /** Error codes of RST_STREAM, by stream. */
  readonly resets: ReadonlyMap<number, number>;
  readonly isClosed: boolean;
}

/** Opens a connection and sends the preface. @param isAcknowledging whether it sends the SETTINGS acknowledgment. */
export async function openFrames(port: number, isAcknowledging = true): Promise<FrameClient> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  onTestFinished(() => void socket.destroy());
  const received: ReceivedFrame[] = [];
  socket.on("error", () => {});
  socket.on("data", readFrames(received));
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  socket.write(Buffer.concat([PREFACE, frame(FRAME.settings)]));
  await eventually(() => received.some(({ type }) => type === FRAME.settings), "the server's SETTINGS");
  if (isAcknowledging) socket.write(frame(FRAME.settings, { flags: ACK }));
  return {
    socket,
    received,
    send: (...frames) => void socket.write(Buffer.concat(frames)),
    get goaway() {
      return received.findLast(({ type }) => type === FRAME.goaway)?.payload.readUInt32BE(4);
    },
    get resets() {
      const resets = received.filter(({ type }) => type === FRAME.reset);
      return new Map(resets.map(({ stream, payload }) => [stream, payload.readUInt32BE(0)]));
    },
    get isClosed() {
      return socket.destroyed || socket.readableEnded;
    },
  };
}

export function frame(
  type: number,
  { flags = 0, stream = 0, payload = NOTHING }: { flags?: number; stream?: number; payload?: Buffer } = {},
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** HEADERS of a whole request. */
export function request(stream: number, fields: readonly (readonly [string, string])[], flags = END_STREAM): Buffer {
  return frame(FRAME.headers, { flags: flags | END_HEADERS, stream, payload: literals(fields) });
}

export function get(path: string, more: readonly (readonly [string, string])[] = []): [string, string][] {
  return [
    [":method", "GET"],
    [":scheme", "https"],
    [":authority", "localhost"],
    [":path", path],
    ...more.map(([name, value]): [string, string] => [name, value]),
  ];
}

export function reset(stream: number, code = 8): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(FRAME.reset, { stream, payload });
}

/** Fields without compression (RFC 7541 section 6.2.2): what a client writes arrives byte for byte. */
export function literals(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** RFC 7541 section 5.2, without Huffman coding. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length, 7), bytes]);
}

/** RFC 7541 section 5.1. */
function integer(value: number, prefixBits: number): Buffer {
  const limit = (1 << prefixBits) - 1;
  if (value < limit) return Buffer.of(value);
  const bytes = [limit];
  let rest = value - limit;
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.of(...bytes, rest);
}

function readFrames(received: ReceivedFrame[]): (chunk: Buffer) => void {
  let unread = NOTHING;
  return (chunk) => {
    unread = Buffer.concat([unread, chunk]);
    while (unread.length >= 9) {
      const end = 9 + unread.readUIntBE(0, 3);
      if (unread.length < end) return;
      const payload = unread.subarray(9, end);
      const [type = 0, flags = 0] = unread.subarray(3, 5);
      received.push({ type, flags, stream: unread.readUInt32BE(5), payload });
      unread = unread.subarray(end);
    }
  };
}
