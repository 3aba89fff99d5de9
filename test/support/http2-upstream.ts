/** HTTP/2 upstreams for tests: one that speaks HTTP/2, and one that sends frames byte by byte. */
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface Http2Upstream {
  readonly url: string;
  readonly port: number;
  /** The headers of all requests, newest last. */
  readonly requests: IncomingHttpHeaders[];
  /** Open now. */
  readonly sessions: Set<ServerHttp2Session>;
  /** All connections so far. */
  readonly counted: { connections: number };
  close(): Promise<void>;
}

type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** @param options with a certificate for https. */
export async function startHttp2Upstream(handler: Handler, options: SecureServerOptions = {}): Promise<Http2Upstream> {
  const isTls = options.cert !== undefined;
  const server: Http2Server = isTls ? createSecureServer(options) : createServer(options);
  const sessions = new Set<ServerHttp2Session>();
  const requests: IncomingHttpHeaders[] = [];
  const counted = { connections: 0 };
  server.on("session", (session) => {
    counted.connections++;
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("connection", (socket: Socket) => void socket.setNoDelay());
  server.on("stream", (stream, headers) => {
    requests.push(headers);
    stream.on("error", () => {});
    handler(stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const session of sessions) session.destroy();
    await closed;
  };
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  return { url: `http${isTls ? "s://localhost" : "://127.0.0.1"}:${port}`, port, requests, sessions, counted, close };
}

/** Frame types and flags (RFC 9113 section 6). */
export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  continuation: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

/** The header block of `:status: 200`. */
export const STATUS_200 = Buffer.from([0x88]);

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A literal field without indexing. */
export function field(name: string, value: string): Buffer {
  const part = (text: string) => {
    const { length } = text;
    const size = length < 127 ? [length] : [127, ((length - 127) & 127) | 128, ((length - 127) >> 7) & 127];
    return Buffer.concat([Buffer.from(size), Buffer.from(text, "latin1")]);
  };
  return Buffer.concat([Buffer.from([0]), part(name), part(value)]);
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, 4 * at);
  return bytes;
}

const PREFACE_LENGTH = 24;

/** @param onFrame called for each frame of the gateway's, after the upstream's empty SETTINGS were sent and its own acknowledged. */
export async function startFrameUpstream(onFrame: (socket: Socket, frame: Frame) => void) {
  const counted = { connections: 0 };
  const server = createTcpServer((socket) => {
    counted.connections++;
    socket.setNoDelay();
    socket.on("error", () => {});
    socket.write(frame(FRAME.settings, 0, 0));
    let bytes = Buffer.alloc(0);
    let isOpen = false;
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (!isOpen && bytes.length < PREFACE_LENGTH) return;
      if (!isOpen) bytes = bytes.subarray(PREFACE_LENGTH);
      isOpen = true;
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const end = 9 + bytes.readUIntBE(0, 3);
        const [type = 0, flags = 0] = bytes.subarray(3, 5);
        const read = { type, flags, stream: bytes.readUInt32BE(5), payload: bytes.subarray(9, end) };
        bytes = bytes.subarray(end);
        if (type === FRAME.settings && flags === 0) socket.write(frame(FRAME.settings, 1, 0));
        onFrame(socket, read);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, counted };
}
