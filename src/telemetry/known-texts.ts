/**
 * Finds many known texts in another text in one pass, however many they are: the text is compared only where the first
 * characters of a known text occur. Invariant: every character that a known text covers is found.
 */

/** Characters that are compared first; a known text that is shorter is compared as a whole. */
const PREFIX_LENGTH = 4;

/** Up to this number, each text is searched for on its own: the engine's `indexOf` is faster than a loop over the characters. */
const FEW = 16;

/** Places in the filter, a power of two: 1,000 services have about 3,000 spellings of secrets. */
const FILTER_BITS = 16;
const FILTER_SIZE = 1 << FILTER_BITS;
const SHIFT = FILTER_BITS / PREFIX_LENGTH;

/** Where known texts are: from the first offset up to, but not including, the second. */
export type Span = readonly [start: number, end: number];

export class KnownTexts {
  readonly #all = new Set<string>();
  /** By prefix: the lengths of the texts that begin with it, longest first. */
  readonly #lengths = new Map<string, number[]>();
  /** 1 for the hash of each prefix of full length: most characters of a text are skipped without a look-up by string. */
  readonly #filter = new Uint8Array(FILTER_SIZE);
  /** Texts that are shorter than a prefix. */
  readonly #short = new Set<string>();

  /** An empty text is never found. */
  add(text: string): void {
    if (text === "" || this.#all.has(text)) return;
    this.#all.add(text);
    if (text.length < PREFIX_LENGTH) {
      this.#short.add(text);
      return;
    }
    const prefix = text.slice(0, PREFIX_LENGTH);
    this.#filter[hashOf(prefix)] = 1;
    const lengths = this.#lengths.get(prefix);
    if (lengths === undefined) this.#lengths.set(prefix, [text.length]);
    else if (!lengths.includes(text.length)) {
      lengths.push(text.length);
      lengths.sort((a, b) => b - a);
    }
  }

  /** It is found no more. An unknown text changes nothing. */
  remove(text: string): void {
    if (!this.#all.delete(text) || this.#short.delete(text)) return;
    const prefix = text.slice(0, PREFIX_LENGTH);
    const alike = [...this.#all].filter((other) => other.startsWith(prefix)).map(({ length }) => length);
    if (alike.length > 0) {
      const lengths = [...new Set(alike)].sort((a, b) => b - a);
      this.#lengths.set(prefix, lengths);
      return;
    }
    this.#lengths.delete(prefix);
    // Two prefixes may have the same place. Without this, the filter would let through ever more characters.
    this.#filter.fill(0);
    for (const left of this.#lengths.keys()) this.#filter[hashOf(left)] = 1;
  }

  /** In order; no two of them overlap. */
  find(text: string): readonly Span[] {
    const spans: Span[] = [];
    if (this.#all.size <= FEW) for (const known of this.#all) collect(known, text, spans);
    else {
      for (const known of this.#short) collect(known, text, spans);
      this.#collectLong(text, spans);
    }
    return spans.length > 1 ? joined(spans) : spans;
  }

  #collectLong(text: string, spans: Span[]): void {
    const filter = this.#filter;
    let hash = 0;
    for (let end = 0; end < text.length; end++) {
      hash = withNext(hash, text.charCodeAt(end));
      if (filter[hash] === 0) continue;
      const at = end + 1 - PREFIX_LENGTH;
      if (at < 0) continue;
      const lengths = this.#lengths.get(text.slice(at, at + PREFIX_LENGTH));
      const length = lengths?.find((each) => this.#all.has(text.slice(at, at + each)));
      if (length !== undefined) spans.push([at, at + length]);
    }
  }
}

function collect(known: string, text: string, spans: Span[]): void {
  for (let at = text.indexOf(known); at !== -1; at = text.indexOf(known, at + 1)) spans.push([at, at + known.length]);
}

/** The hash of the last `PREFIX_LENGTH` characters: each step shifts the oldest of them out. */
function withNext(hash: number, character: number): number {
  return ((hash << SHIFT) ^ character) & (FILTER_SIZE - 1);
}

function hashOf(prefix: string): number {
  let hash = 0;
  for (let at = 0; at < PREFIX_LENGTH; at++) hash = withNext(hash, prefix.charCodeAt(at));
  return hash;
}

/** Spans that overlap become one. */
function joined(spans: Span[]): Span[] {
  const all: [number, number][] = [];
  for (const [start, end] of spans.sort(([a], [b]) => a - b)) {
    const before = all.at(-1);
    if (before === undefined || start >= before[1]) all.push([start, end]);
    else before[1] = Math.max(before[1], end);
  }
  return all;
}
