/** The estimate of a pattern's compiled size, against the compiler itself. */
import fc from "fast-check";
import { RE2JS } from "re2js";
import { expect, test } from "vitest";
import { patternSize } from "../../src/config/pattern-size.ts";

const PIECES = [
  ..."ab()|*+?^$.{}é",
  ...["(?:", "(?i)", "(?P<x>", "*?", "{2}", "{3,}", "{2,7}", "{0}", "{0,2}", "[ab]", "[^a]", "[]a]", "[[:digit:]]"],
  ...["\\d", "\\pL", "\\b", "\\Q", "\\E", "\\x{61}", "\\x61", "\\n", "\\077", "\\.", "[\\]a{9}]"],
];

function compiledSize(source: string): number | undefined {
  try {
    return RE2JS.compile(source).programSize();
  } catch {
    return undefined;
  }
}

test("The estimated size of a pattern is never below its compiled size", () => {
  const pattern = fc.array(fc.constantFrom(...PIECES), { maxLength: 14 }).map((pieces) => pieces.join(""));
  fc.assert(
    fc.property(pattern, (source) => {
      const size = compiledSize(source);
      if (size !== undefined) expect(patternSize(source), source).toBeGreaterThanOrEqual(size);
    }),
    { numRuns: 5_000 },
  );
});

test.each(["", "/org/", "^/api/v[0-9]+/users$", "^/(?:a|b|c)/[^/]+$", "^/[0-9a-f]{32}$"])(
  "The estimated size of %j is at most three times its compiled size",
  (source) => {
    expect(patternSize(source)).toBeLessThanOrEqual(3 * (compiledSize(source) ?? 0));
  },
);

test.each([
  ["(a{1000}){1000}", 1_000_000],
  ["(((a{999}){999}){999}){999}", 1e11],
  ["a{999999999}", 1e9],
])("The size of %s is estimated without compiling it", (source, least) => {
  expect(patternSize(source)).toBeGreaterThan(least);
});
