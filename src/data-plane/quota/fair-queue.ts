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

  /** Whoever was let go: their caller goes behind the others. */
  shift(callerId: string, item: T): void {
    this.remove(callerId, item);
    const line = this.#lines.get(callerId);
    if (line === undefined) return;
    this.#lines.delete(callerId);
    this.#lines.set(callerId, line);
  }

  /** Gives a place back. @returns whether it was there. */
  remove(callerId: string, item: T): boolean {
    const line = this.#lines.get(callerId);
    const at = line?.indexOf(item) ?? -1;
    if (line === undefined || at === -1) return false;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(callerId);
    this.#size--;
    return true;
  }

  /** Who goes before the next request of a caller: all of its own, and for each of them and for it one of each other caller. */
  *before(callerId: string): Generator<T> {
    const own = this.#lines.get(callerId)?.length ?? 0;
    for (const [other, line] of this.#lines) yield* other === callerId ? line : line.slice(0, own + 1);
  }

  /** In the order in which they go. */
  *inTurn(): Generator<T> {
    let lines = [...this.#lines.values()];
    for (let round = 0; lines.length > 0; round++) {
      for (const line of lines) yield line[round]!;
      lines = lines.filter((line) => line.length > round + 1);
    }
  }
}
