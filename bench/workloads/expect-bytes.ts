/** Compares received bytes with the expected ones, without a copy. */

const SHOWN_BYTES = 40;

export interface Part {
  readonly buffer: Buffer;
  readonly from: number;
  readonly to: number;
}

/** @throws unless `expected` holds the same bytes from `at` on. */
export function expectBytes({ buffer, from, to }: Part, expected: Buffer, at: number): void {
  const end = at + to - from;
  if (end > expected.length) throw new Error(`received ${end - expected.length} bytes more than expected`);
  if (expected.compare(buffer, from, to, at, end) === 0) return;
  let wrong = 0;
  while (expected[at + wrong] === buffer[from + wrong]) wrong++;
  const wanted = JSON.stringify(expected.toString("latin1", at + wrong, Math.min(end, at + wrong + SHOWN_BYTES)));
  const got = JSON.stringify(buffer.toString("latin1", from + wrong, Math.min(to, from + wrong + SHOWN_BYTES)));
  throw new Error(`wrong bytes from ${at + wrong} on: expected ${wanted}, got ${got}`);
}
