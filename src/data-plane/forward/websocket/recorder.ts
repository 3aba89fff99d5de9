/** What node:http's request writes to in place of a connection: it keeps the bytes, and never sends any back. */
import { Duplex } from "node:stream";

export class Recorder extends Duplex {
  readonly #written: Buffer[] = [];

  /** What was written so far, as latin1. */
  get text(): string {
    return Buffer.concat(this.#written).toString("latin1");
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#written.push(chunk);
    done();
  }
}
