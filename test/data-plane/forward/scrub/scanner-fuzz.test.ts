/**
 * Random secrets in random spellings, texts and cuts: the search masks exactly what a slow and simple one masks.
 * `FUZZ_CASES` and `FUZZ_SEED` change the length and the cases of a run.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { BodyStream } from "../../../../src/data-plane/forward/scrub/body-stream.ts";
import { createScanner } from "../../../../src/data-plane/forward/scrub/scanner.ts";
import { maskSlowly, patternsOf, someCopyOf, someSecret } from "../../../support/secret-spellings.ts";

const CASES = Number(process.env.FUZZ_CASES ?? 150);
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_129);

interface Sent {
  readonly secrets: readonly string[];
  readonly text: string;
  /** Where the text is cut. */
  readonly cuts: readonly number[];
}

/** Several copies, whole and partial, between text that may itself begin or continue a spelling. */
const sent: fc.Arbitrary<Sent> = fc.array(someSecret, { minLength: 1, maxLength: 3 }).chain((secrets) => {
  // One secret is sometimes the beginning of another.
  const all = [...secrets, ...((secrets[0] as string).length > 12 ? [(secrets[0] as string).slice(0, 9)] : [])];
  const copies = all.map(someCopyOf);
  const partial = fc.tuple(fc.oneof(...copies), fc.nat(200)).map(([copy, at]) => copy.slice(0, at % (copy.length + 1)));
  const filler = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.string({ unit: fc.constantFrom(..."%25\\u0041&#x;*"), maxLength: 8 }),
    fc.constantFrom("", "%", "%2", "\\", "\\u00", "&#", '{"a":"', "=", "\n\n"),
  );
  const part = fc.oneof({ weight: 3, arbitrary: fc.oneof(...copies) }, partial, filler);
  return fc.record({
    secrets: fc.constant(all),
    text: fc.array(part, { maxLength: 8 }).map((parts) => Buffer.from(parts.join(""), "utf8").toString("latin1")),
    cuts: fc.array(fc.nat(400), { maxLength: 6 }),
  });
});

function scrub(secrets: readonly string[], pieces: readonly Buffer[]): string {
  const scanner = createScanner(secrets);
  if (scanner === undefined) throw new Error("no secret");
  const body = new BodyStream(() => scanner);
  let [passed, received] = ["", 0];
  for (const piece of pieces) {
    received += piece.length;
    passed += body.push(Buffer.from(piece)).toString("latin1");
    expect(received - passed.length).toBeLessThanOrEqual(scanner.longestHold);
  }
  return passed + body.end(Buffer.alloc(0)).toString("latin1");
}

function pieces(text: string, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((at) => at % (text.length + 1)), text.length].sort((a, b) => a - b);
  return places.slice(1).map((to, i) => Buffer.from(text.slice(places[i], to), "latin1"));
}

test("Exactly the copies of the secrets are masked, in every spelling and wherever the body is cut", {
  timeout: 600_000,
}, () => {
  const property = fc.property(sent, ({ secrets, text, cuts }) => {
    const expected = maskSlowly(text, secrets.flatMap(patternsOf));
    expect(scrub(secrets, [Buffer.from(text, "latin1")])).toBe(expected);
    expect(scrub(secrets, pieces(text, cuts))).toBe(expected);
    const single = Array.from(text, (byte) => Buffer.from(byte, "latin1"));
    expect(scrub(secrets, single)).toBe(expected);
  });
  fc.assert(property, { numRuns: CASES, seed: SEED });
});
