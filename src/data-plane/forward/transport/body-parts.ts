/**
 * What one read brought of a body.
 * Many small chunks of one read are one chunk for the client: each would cost memory and time of its own.
 */
export class BodyParts {
  #parts: Buffer[] = [];

  add(part: Buffer): void {
    this.#parts.push(part);
  }

  /** @returns all of them as one; undefined where there is none. */
  take(): Buffer | undefined {
    const parts = this.#parts;
    if (parts.length <= 1) return parts.pop();
    this.#parts = [];
    return Buffer.concat(parts);
  }
}
