/** WebSockets (RFC 6455): a small text message, which the origin returns to its sender. */
import { createMessage, MESSAGE_COUNT } from "./contents.ts";
import { expectBytes } from "./expect-bytes.ts";
import { HeadReader, requestHead } from "./head.ts";
import type { Client, CreateClient, Target, Wire, Workload } from "./workload.ts";

export const websocket: Workload = {
  name: "websocket",
  title: "WebSocket messages, there and back",
  unit: "message",
  contestants: ["gateway", "against", "http-proxy-3", "nginx"],
  goals: [{ than: "http-proxy-3", atMost: 1.05 }],
  isLongLived: true,
  prepare: prepareWebSockets,
};

const HANDSHAKE = [
  ...["Connection: Upgrade", "Upgrade: websocket"],
  ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
];
const TEXT = 0x81;
const MASKED = 0x80;
const MASK = [0x37, 0xfa, 0x21, 0x3d] as const;

/** A message as a client must send it, and as a server must. */
interface Frames {
  readonly masked: Buffer;
  readonly plain: Buffer;
}

function prepareWebSockets(target: Target): CreateClient {
  const handshake = Buffer.from(requestHead("GET /websockets/echo", target, HANDSHAKE));
  const frames = Array.from({ length: MESSAGE_COUNT }, (_, number) => createFrames(createMessage(number)));
  return (number, wire) => new WebSocketClient({ handshake, frames, number, wire });
}

function createFrames(message: Buffer): Frames {
  const masked = message.map((byte, at) => byte ^ MASK[at % 4]!);
  return {
    masked: Buffer.concat([Buffer.from([TEXT, MASKED | message.length, ...MASK]), masked]),
    plain: Buffer.concat([Buffer.from([TEXT, message.length]), message]),
  };
}

interface Conversation {
  readonly handshake: Buffer;
  readonly frames: readonly Frames[];
  readonly number: number;
  readonly wire: Wire;
}

class WebSocketClient implements Client {
  readonly #conversation: Conversation;
  readonly #head = new HeadReader();
  #isOpen = false;
  #isWaiting = false;
  #message: number;
  /** Received bytes of the current frame. */
  #received = 0;

  constructor(conversation: Conversation) {
    this.#conversation = conversation;
    this.#message = conversation.number % conversation.frames.length;
  }

  start(): void {
    this.#conversation.wire.send(this.#conversation.handshake);
  }

  onData(chunk: Buffer): void {
    if (this.#isOpen) return this.#onFrameBytes(chunk);
    const head = this.#head.read(chunk, 101);
    if (head === undefined) return;
    if (head.bodyStart < head.buffer.length) throw new Error("received bytes before the first message was sent");
    this.#isOpen = true;
    this.#sendMessage();
  }

  #sendMessage(): void {
    this.#isWaiting = true;
    this.#conversation.wire.send(this.#conversation.frames[this.#message]!.masked);
  }

  #onFrameBytes(chunk: Buffer): void {
    if (!this.#isWaiting) throw new Error("received a message that was not sent");
    const { frames, wire } = this.#conversation;
    const expected = frames[this.#message]!.plain;
    expectBytes({ buffer: chunk, from: 0, to: chunk.length }, expected, this.#received);
    this.#received += chunk.length;
    if (this.#received < expected.length) return;
    this.#received = 0;
    this.#message = (this.#message + 1) % frames.length;
    this.#isWaiting = false;
    if (wire.onUnit()) this.#sendMessage();
  }
}
