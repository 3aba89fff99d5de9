/**
 * Who goes next: turn by turn between callers, first come first served within one.
 * Invariant: a caller who asks ten times as much waits ten times as long, and nobody else does.
 */

export class FairQueue<T> {
  /** In the order of their turns: a Map keeps it. */
  readonly #lines = new Map<string, T[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(callerId: string, item: T): void {
    const line = this.#lines.get(callerId);
    if (line === undefined) this.#lines.set(callerId, [item]);
    else line.push(item);
    this.#size++;
  }

  /** Whose turn it is; undefined when nobody waits. */
  peek(): T | undefined {
    for (const line of this.#lines.values()) return line[0];
    return undefined;
  }

  /** Takes out whom `peek` names, and puts its caller behind the others. */
  shift(): T | undefined {
    for (const [callerId, line] of this.#lines) {
      const item = line.shift();
      this.#lines.delete(callerId);
      if (line.length > 0) this.#lines.set(callerId, line);
      this.#size--;
      return item;
    }
    return undefined;
  }

  /** Gives a place back. */
  remove(callerId: string, item: T): void {
    const line = this.#lines.get(callerId);
    const at = line?.indexOf(item) ?? -1;
    if (line === undefined || at === -1) return;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(callerId);
    this.#size--;
  }

  /** How many go before the next request of a caller, at most: each other caller has a turn for each of its own. */
  ahead(callerId: string): number {
    const own = this.#lines.get(callerId)?.length ?? 0;
    let ahead = own;
    for (const [other, line] of this.#lines) if (other !== callerId) ahead += Math.min(line.length, own + 1);
    return ahead;
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const line of this.#lines.values()) yield* line;
  }
}
