/**
 * Splits an event stream into the data of its events, as they arrive (WHATWG HTML, section 9.2.6).
 * Invariant: nothing is kept of a line but how far its name was read, so that lines and events may be of any length.
 */

const CR = 0x0d;
const LF = 0x0a;
const DATA = Buffer.from("data:");
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

export interface EventReader {
  /** A part of the event's data. */
  onData(chunk: Buffer, from: number, to: number): void;
  onEvent(): void;
}

export class EventSplitter {
  readonly #reader: EventReader;
  /** Bytes of the line that were compared with `data:`. */
  #matched = 0;
  #state: "name" | "data" | "skipped" = "name";
  #isLineEmpty = true;
  #wasCr = false;
  #hasData = false;
  /** Bytes of the mark that may be at the beginning. */
  #marked = 0;

  constructor(reader: EventReader) {
    this.#reader = reader;
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (this.#marked < BYTE_ORDER_MARK.length) {
        if (byte === BYTE_ORDER_MARK[this.#marked]) {
          this.#marked++;
          continue;
        }
        this.#marked = BYTE_ORDER_MARK.length;
      }
      if (byte === LF && this.#wasCr) {
        this.#wasCr = false;
        continue;
      }
      this.#wasCr = byte === CR;
      if (byte === LF || byte === CR) this.#endLine();
      else if (this.#state === "name") this.#readName(byte);
      else at = this.#readRest(chunk, at) - 1;
    }
  }

  /** Clients also take an event that the stream's end cut short of its empty line. */
  end(): void {
    if (this.#hasData) this.#reader.onEvent();
    this.#hasData = false;
  }

  #readName(byte: number): void {
    this.#isLineEmpty = false;
    if (byte !== DATA[this.#matched]) this.#state = "skipped";
    else if (++this.#matched === DATA.length) {
      this.#state = "data";
      this.#hasData = true;
    }
  }

  /** @returns the offset after what belongs to the line. */
  #readRest(chunk: Buffer, from: number): number {
    let to = from;
    while (to < chunk.length && chunk[to] !== LF && chunk[to] !== CR) to++;
    if (this.#state === "data") this.#reader.onData(chunk, from, to);
    return to;
  }

  #endLine(): void {
    if (this.#isLineEmpty) this.end();
    // Several lines of data are joined by a line break, which is white space in JSON.
    this.#isLineEmpty = true;
    this.#state = "name";
    this.#matched = 0;
  }
}
