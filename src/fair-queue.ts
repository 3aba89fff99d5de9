/**
 * A queue that is fair between callers: they alternate, and the requests of one caller keep their order. A caller with ten times the
 * requests delays only itself.
 */
export class FairQueue<T> {
  /** The requests of each caller, the next caller first: a Map keeps the order. */
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

  /** The next item; undefined when the queue is empty. */
  peek(): T | undefined {
    for (const line of this.#lines.values()) return line[0];
    return undefined;
  }

  /** The next item of a caller that may go now; undefined when there is none. */
  peekOf(mayGo: (callerId: string) => boolean): T | undefined {
    for (const [callerId, line] of this.#lines) if (mayGo(callerId)) return line[0];
    return undefined;
  }

  /** The last item of the caller with the most items; undefined if this caller has as many itself. */
  lastOfMost(callerId: string): T | undefined {
    const own = this.#lines.get(callerId);
    let most: readonly T[] = own ?? [];
    for (const line of this.#lines.values()) if (line.length > most.length) most = line;
    return most === own ? undefined : most.at(-1);
  }

  /** Removes an item that was sent: its caller moves behind the others. */
  shift(callerId: string, item: T): void {
    this.remove(callerId, item);
    const line = this.#lines.get(callerId);
    if (line === undefined) return;
    this.#lines.delete(callerId);
    this.#lines.set(callerId, line);
  }

  /** @returns false if it was not in the queue. */
  remove(callerId: string, item: T): boolean {
    const line = this.#lines.get(callerId);
    const at = line?.indexOf(item) ?? -1;
    if (line === undefined || at === -1) return false;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(callerId);
    this.#size--;
    return true;
  }

  /** All items ahead of a caller's next one: its own, and for each of these and the next one an item of each other caller. */
  *before(callerId: string): Generator<T> {
    const own = this.#lines.get(callerId)?.length ?? 0;
    for (const [other, line] of this.#lines) yield* other === callerId ? line : line.slice(0, own + 1);
  }

  /** How many items `before` gives. */
  countBefore(callerId: string): number {
    const own = this.#lines.get(callerId)?.length ?? 0;
    let count = own;
    for (const [other, line] of this.#lines) if (other !== callerId) count += Math.min(line.length, own + 1);
    return count;
  }

  /** The items of each caller, the next caller first. */
  lines(): Iterable<readonly T[]> {
    return this.#lines.values();
  }

  holds(callerId: string, item: T): boolean {
    return this.#lines.get(callerId)?.includes(item) ?? false;
  }

  *inOrder(): Generator<T> {
    let lines = [...this.#lines.values()];
    for (let round = 0; lines.length > 0; round++) {
      for (const line of lines) yield line[round]!;
      lines = lines.filter((line) => line.length > round + 1);
    }
  }
}
