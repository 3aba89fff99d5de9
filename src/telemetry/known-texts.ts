/**
 * Many known texts, found in another text in one walk, however many they are: what stands at a place is told by a hash of the next
 * few characters, which rolls on with the walk (Karp and Rabin, 1987). Invariant: whatever any of them covers is found.
 */

/** Characters that are hashed at once, of texts that have as many; the longer, the seldomer two texts begin alike. */
const WIDTH = 8;

/** Of the hash: odd, so that no character is lost in it. */
const BASE = 0x01000193;
/** Spreads what differs in the low bits over the high ones. */
const SPREAD = 0x9e3779b1;

/** So few are looked for one by one: the engine's own search is quicker than any walk in JavaScript. */
const FEW = 16;

const LEAST_BITS = 8;
/** Places of the filter for each beginning: of 16 others about one passes it. */
const ROOM = 16;

/** Where a known text stands: from the first number up to the second. */
export type Span = readonly [start: number, end: number];

export class KnownTexts {
  readonly #all = new Set<string>();
  /** By the width that is hashed: those that are shorter than `WIDTH` would make the walk over all the others slow. */
  readonly #beginnings = new Map<number, Beginnings>();

  /** What is empty stands nowhere. */
  add(text: string): void {
    if (text === "" || this.#all.has(text)) return;
    this.#all.add(text);
    const width = Math.min(text.length, WIDTH);
    let beginnings = this.#beginnings.get(width);
    if (beginnings === undefined) {
      beginnings = new Beginnings(width);
      this.#beginnings.set(width, beginnings);
    }
    beginnings.add(text);
  }

  /** In order, none touching the inside of another. */
  find(text: string): readonly Span[] {
    const spans: Span[] = [];
    if (this.#all.size <= FEW) for (const known of this.#all) collect(known, text, spans);
    else for (const beginnings of this.#beginnings.values()) beginnings.collect(text, spans);
    return spans.length > 1 ? joined(spans) : spans;
  }
}

function collect(known: string, text: string, spans: Span[]): void {
  for (let at = text.indexOf(known); at !== -1; at = text.indexOf(known, at + 1)) spans.push([at, at + known.length]);
}

/** Texts of at least a width, by their first characters. */
class Beginnings {
  readonly #width: number;
  /** What the character that leaves the window counts for. */
  readonly #outgoing: number;
  readonly #texts = new Set<string>();
  /** Of the texts that begin alike, the longest first: a look a length, however many there are. */
  readonly #lengths = new Map<string, number[]>();
  #bits = LEAST_BITS;
  #filter = new Uint8Array(1 << LEAST_BITS);

  constructor(width: number) {
    this.#width = width;
    let outgoing = 1;
    for (let i = 1; i < width; i++) outgoing = Math.imul(outgoing, BASE);
    this.#outgoing = outgoing;
  }

  add(text: string): void {
    this.#texts.add(text);
    const beginning = text.slice(0, this.#width);
    const lengths = this.#lengths.get(beginning);
    if (lengths === undefined) {
      this.#lengths.set(beginning, [text.length]);
      if (this.#lengths.size * ROOM > this.#filter.length) this.#grow();
      else this.#pass(beginning);
    } else if (!lengths.includes(text.length)) {
      lengths.push(text.length);
      lengths.sort((a, b) => b - a);
    }
  }

  /** Adds each place, with the longest that stands there, to the list. */
  collect(text: string, spans: Span[]): void {
    const width = this.#width;
    const last = text.length - width;
    if (last < 0) return;
    const filter = this.#filter;
    const shift = 32 - this.#bits;
    const outgoing = this.#outgoing;
    let hash = hashOf(text, width);
    for (let at = 0; ; at++) {
      if (filter[Math.imul(hash, SPREAD) >>> shift] === 1) {
        const length = this.#longestAt(text, at);
        if (length > 0) spans.push([at, at + length]);
      }
      if (at === last) return;
      hash = (Math.imul(hash - Math.imul(text.charCodeAt(at), outgoing), BASE) + text.charCodeAt(at + width)) | 0;
    }
  }

  /** 0 where none stands there. */
  #longestAt(text: string, at: number): number {
    const lengths = this.#lengths.get(text.slice(at, at + this.#width));
    if (lengths === undefined) return 0;
    for (const length of lengths) if (this.#texts.has(text.slice(at, at + length))) return length;
    return 0;
  }

  #grow(): void {
    this.#bits += 1;
    this.#filter = new Uint8Array(1 << this.#bits);
    for (const beginning of this.#lengths.keys()) this.#pass(beginning);
  }

  #pass(beginning: string): void {
    this.#filter[Math.imul(hashOf(beginning, this.#width), SPREAD) >>> (32 - this.#bits)] = 1;
  }
}

function hashOf(text: string, width: number): number {
  let hash = 0;
  for (let i = 0; i < width; i++) hash = (Math.imul(hash, BASE) + text.charCodeAt(i)) | 0;
  return hash;
}

/** What shares a character is one. */
function joined(spans: Span[]): Span[] {
  const all: [number, number][] = [];
  for (const [start, end] of spans.sort(([a], [b]) => a - b)) {
    const before = all.at(-1);
    if (before === undefined || start >= before[1]) all.push([start, end]);
    else before[1] = Math.max(before[1], end);
  }
  return all;
}
