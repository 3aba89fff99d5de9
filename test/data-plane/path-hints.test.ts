/** Hints match as RE2 does, and cost little for any path. */
import { RE2JS } from "re2js";
import { describe, expect, test } from "vitest";
import { createPathHints } from "../../src/data-plane/path-hints.ts";

const hintsOf = (...matches: string[]) => createPathHints(matches.map((match) => ({ match, message: match })));
const LONGEST = 16_000;

test.each([
  "^/org/",
  "^/orgs?/x",
  "^/a*",
  "^/ab{2}",
  "^/a|b",
  "^/a\\.b",
  "^/a.b$",
  "^/a-b/~c$",
  "^$",
  "^",
  "/x/",
  "(?i)^/ORG/",
  "^/(a|b)$",
  "^/a[0-9]+",
  "",
])("A hint for %j matches exactly the paths that its pattern matches", (match) => {
  const pattern = RE2JS.compile(match);
  const paths = [
    "",
    "/",
    "/org/",
    "/org/x",
    "/orgs/x",
    "/ORG/x",
    "/a",
    "/abb",
    "/ab",
    "b",
    "/a.b",
    "/aXb",
    "/x/y",
    "/a12",
    "/b",
  ];
  for (const path of [...paths, "/a-b/~c", "/or/x", "/og/x"]) {
    expect(hintsOf(match)?.find(path)?.message, path).toBe(pattern.test(path) ? match : undefined);
  }
});

test("The first hint that matches is the one that counts, and a service without hints has none", () => {
  expect(hintsOf("^/b", "/a", "^/a")?.find("/a")?.message).toBe("/a");
  expect(hintsOf()).toBeUndefined();
});

test("A hint that begins with a literal text is tested on the longest path", () => {
  const long = "x".repeat(LONGEST);
  expect(hintsOf("^/org/")?.find(`/org/${long}`)?.message).toBe("^/org/");
  expect(hintsOf("^/org/[0-9]+")?.find(`/org/1${"x".repeat(1_000)}`)?.message).toBe("^/org/[0-9]+");
});

describe("A hostile pattern", () => {
  const random = (length: number) => {
    let seed = 1;
    const next = () => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (seed >> 16) & 1 ? "a" : "b";
    };
    return `/${Array.from({ length }, next).join("")}`;
  };

  test.each<[string, string[]]>([
    ["a state for each of the last characters", ["a[ab]{90}[c-e]"]],
    ["more states than paths have characters", ["a[ab]{900}[c-e]"]],
    ["many patterns", Array.from({ length: 32 }, (_, i) => `a[ab]{${60 + i}}[c-e]`)],
    ["exponentially many states", ["(?:a|b)*a(?:a|b){14}c", "(a|aa|aaa|ab|b)*c"]],
    ["classes of Unicode", ["(?i)\\pL{40}x"]],
    ["nested stars", ["((a*)*b*)*c$", "(.*)(.*)(.*)(.*)x"]],
  ])("%s: the hints cost a few milliseconds for a path of any length", (_, matches) => {
    const hints = hintsOf(...matches);
    for (const length of [10, 100, 300, 1_000, 4_000, LONGEST]) {
      const costs = Array.from({ length: 3 }, () => {
        const path = random(length);
        const before = process.cpuUsage();
        hints?.find(path);
        return process.cpuUsage(before).user / 1_000;
      });
      // The first one also compiles the patterns.
      expect(Math.min(...costs), `${length} characters`).toBeLessThan(25);
    }
  });
});
