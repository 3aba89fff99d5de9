/** The origin's WebSockets: idle ones, and ones that return each message. */
import type { Duplex } from "node:stream";

/** The clients of the benchmark do not check it. */
const ACCEPTANCE = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
/** A text frame. */
const WAKE_FRAME = Buffer.from([0x81, 4, ...Buffer.from("wake")]);
/** The two bytes before the mask of a short message (RFC 6455, section 5.2), and the mask. */
const [MASK_AT, PAYLOAD_AT] = [2, 6];

export function createWebSockets() {
  const idle = new Set<Duplex>();

  function openIdle(socket: Duplex): void {
    idle.add(socket);
    socket.on("close", () => idle.delete(socket));
    socket.resume();
    socket.write(ACCEPTANCE);
  }

  /** Sends a message to every idle WebSocket. @returns their number. */
  function wake(): number {
    for (const socket of idle) socket.write(WAKE_FRAME);
    return idle.size;
  }

  function openEcho(socket: Duplex): void {
    let begun = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      let bytes = begun.length === 0 ? chunk : Buffer.concat([begun, chunk]);
      for (let end = frameEnd(bytes); end <= bytes.length; end = frameEnd(bytes)) {
        socket.write(unmasked(bytes.subarray(0, end)));
        bytes = bytes.subarray(end);
      }
      begun = Buffer.from(bytes);
    });
    socket.write(ACCEPTANCE);
  }

  return { openIdle, wake, openEcho };
}

/** Where the first frame ends; its payload is shorter than 126 bytes, as in all messages of the benchmark. */
function frameEnd(bytes: Buffer): number {
  return bytes.length < PAYLOAD_AT ? Number.POSITIVE_INFINITY : PAYLOAD_AT + (bytes[1]! & 0x7f);
}

function unmasked(frame: Buffer): Buffer {
  const plain = Buffer.allocUnsafe(frame.length - PAYLOAD_AT + MASK_AT);
  plain[0] = frame[0]!;
  plain[1] = frame[1]! & 0x7f;
  for (let at = PAYLOAD_AT; at < frame.length; at++) {
    plain[at - PAYLOAD_AT + MASK_AT] = frame[at]! ^ frame[MASK_AT + ((at - PAYLOAD_AT) % 4)]!;
  }
  return plain;
}
