/**
 * The frames of a client on their way to the upstream, with the text messages among them that may be replaced.
 * Invariant: what is not replaced passes byte for byte, with the client's masks, and in order; only a ping or pong overtakes the held
 * frames of a fragmented message (RFC 6455 section 5.4). At most MESSAGE_LIMIT bytes are held; a longer message passes as it arrives.
 */
import { type FrameHeader, headerSize, masked, OPCODE, readFrameHeader, textFrame } from "./frame-header.ts";

/** Of a message with the headers of its frames, bytes. */
export const MESSAGE_LIMIT = 65_536;

export interface ClientMessagesParts {
  /** The message in place of a text message; undefined where that passes untouched. It never throws; if it rejects, `read` does. */
  readonly replace: (message: Buffer) => Buffer | undefined | Promise<Buffer | undefined>;
  /** Called with what the upstream receives, in order. */
  readonly send: (bytes: Buffer) => void;
  /** Called once, with what is wrong with a frame. Nothing is sent afterwards. */
  readonly fail: (fault: string) => void;
}

const NO_BYTES: Buffer = Buffer.alloc(0);
const FIRST_CAPACITY = 1_024;

export class ClientMessages {
  /** A close frame has begun. */
  hasSeenClose = false;
  readonly #parts: ClientMessagesParts;
  #hasFailed = false;
  /** The begin of a header, until all of it is there. */
  #begun: Buffer = NO_BYTES;
  #payloadLeft = 0;
  /** The current frame belongs to the held message. */
  #isFrameHeld = false;
  /** The current frame is the last one of its message. */
  #endsMessage = false;
  /** The message whose last frame has not come. */
  #message: "none" | "passes" | "held" = "none";
  /** The frames of the held message as they came, and how many bytes of the buffer they use. */
  #held: Buffer = NO_BYTES;
  #heldLength = 0;
  #waiting: Promise<void> | undefined;
  /** What came while a replacement was awaited. */
  #rest: Buffer = NO_BYTES;

  constructor(parts: ClientMessagesParts) {
    this.#parts = parts;
  }

  /**
   * @returns undefined if all of it was read; else the rest waits for a replacement, and the client must not send more. Nothing is read or
   * sent after it rejected.
   */
  read(chunk: Buffer): Promise<void> | undefined {
    if (this.#waiting !== undefined) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      return this.#waiting;
    }
    const bytes = this.#begun.length === 0 ? chunk : Buffer.concat([this.#begun, chunk]);
    this.#begun = NO_BYTES;
    let at = 0;
    while (at < bytes.length && !this.#hasFailed) {
      at = this.#payloadLeft > 0 ? this.#readPayload(bytes, at) : this.#readHeader(bytes, at);
      if (this.#waiting === undefined) continue;
      this.#rest = bytes.subarray(at);
      return this.#waiting;
    }
    return undefined;
  }

  #readHeader(bytes: Buffer, at: number): number {
    const available = bytes.length - at;
    if (available < 2 || available < headerSize(bytes[at + 1] as number)) {
      // A copy: the chunk would stay in memory for these few bytes.
      this.#begun = Buffer.from(bytes.subarray(at));
      return bytes.length;
    }
    const header = readFrameHeader(bytes, at);
    const fault = typeof header === "string" ? header : this.#faultInOrder(header);
    if (typeof header === "string" || fault !== undefined) {
      this.#hasFailed = true;
      this.#drop();
      this.#parts.fail(fault ?? "");
      return bytes.length;
    }
    this.#start(header);
    this.#payloadLeft = header.length;
    return this.#take(bytes, at, at + header.size);
  }

  #readPayload(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#payloadLeft);
    this.#payloadLeft -= end - at;
    return this.#take(bytes, at, end);
  }

  /** @returns `end`. */
  #take(bytes: Buffer, at: number, end: number): number {
    if (this.#isFrameHeld) this.#hold(bytes, at, end);
    else this.#parts.send(bytes.subarray(at, end));
    if (this.#payloadLeft === 0 && this.#endsMessage) this.#endMessage();
    return end;
  }

  /** RFC 6455 section 5.4: no message begins inside another one. */
  #faultInOrder({ opcode }: FrameHeader): string | undefined {
    if (opcode >= OPCODE.close) return undefined;
    const isContinuation = opcode === OPCODE.continuation;
    if (isContinuation === (this.#message !== "none")) return undefined;
    return isContinuation ? "continuation without a message" : "message inside a message";
  }

  /** Decides whether the frame passes. */
  #start({ opcode, isFinal, size, length }: FrameHeader): void {
    if (opcode >= OPCODE.close) {
      this.#isFrameHeld = false;
      this.#endsMessage = false;
      // The message before it will never be complete, and nothing may follow a close frame.
      if (opcode === OPCODE.close) {
        this.hasSeenClose = true;
        this.#release();
      }
      return;
    }
    const isOverLimit = this.#heldLength + size + length > MESSAGE_LIMIT;
    if (opcode === OPCODE.text) this.#message = isOverLimit ? "passes" : "held";
    else if (opcode === OPCODE.binary) this.#message = "passes";
    else if (this.#message === "held" && isOverLimit) this.#release();
    this.#isFrameHeld = this.#message === "held";
    this.#endsMessage = isFinal;
  }

  #endMessage(): void {
    this.#endsMessage = false;
    const isHeld = this.#message === "held";
    this.#message = "none";
    if (!isHeld) return;
    const frames = this.#held.subarray(0, this.#heldLength);
    this.#drop();
    const replaced = this.#parts.replace(messageIn(frames));
    if (!(replaced instanceof Promise)) return this.#sendMessage(frames, replaced);
    this.#waiting = replaced.then(
      (message) => {
        this.#sendMessage(frames, message);
        return this.read(this.#takeRest());
      },
      (error: unknown) => {
        this.#takeRest();
        this.#hasFailed = true;
        throw error;
      },
    );
  }

  #takeRest(): Buffer {
    const rest = this.#rest;
    this.#rest = NO_BYTES;
    this.#waiting = undefined;
    return rest;
  }

  #sendMessage(frames: Buffer, replaced: Buffer | undefined): void {
    this.#parts.send(replaced === undefined ? frames : textFrame(replaced));
  }

  #hold(bytes: Buffer, at: number, end: number): void {
    const length = this.#heldLength + end - at;
    if (length > this.#held.length) {
      // For a frame that the client has announced only as much as it has sent, times two.
      const larger = Buffer.allocUnsafe(Math.min(MESSAGE_LIMIT, Math.max(FIRST_CAPACITY, length * 2)));
      this.#held.copy(larger, 0, 0, this.#heldLength);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldLength, at, end);
    this.#heldLength = length;
  }

  /** The held message passes. */
  #release(): void {
    if (this.#message === "held") this.#message = "passes";
    const frames = this.#held.subarray(0, this.#heldLength);
    this.#drop();
    if (frames.length > 0) this.#parts.send(frames);
  }

  #drop(): void {
    this.#held = NO_BYTES;
    this.#heldLength = 0;
  }
}

/** The payload of whole data frames. */
function messageIn(frames: Buffer): Buffer {
  const payloads: Buffer[] = [];
  for (let at = 0; at < frames.length; ) {
    const { size, length } = readFrameHeader(frames, at) as FrameHeader;
    const start = at + size;
    payloads.push(masked(frames.subarray(start, start + length), frames.subarray(start - 4, start)));
    at = start + length;
  }
  return payloads.length === 1 ? (payloads[0] as Buffer) : Buffer.concat(payloads);
}
