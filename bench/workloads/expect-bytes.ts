/** Compares received bytes with the expected ones, without a copy. */

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
  const got = JSON.stringify(buffer.toString("latin1", from, Math.min(to, from + 80)));
  const wanted = JSON.stringify(expected.toString("latin1", at, Math.min(end, at + 80)));
  throw new Error(`wrong bytes between ${at} and ${end}: expected ${wanted}, got ${got}`);
}
