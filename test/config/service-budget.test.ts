/** Definitions that are too large are refused before anything is compiled or stored. */
import { describe, expect, test } from "vitest";
import { PATTERNS_SIZE_LIMIT } from "../../src/config/path-hints.ts";
import { defineService } from "../../src/config/services-file.ts";
import { problemsOf, SERVICES } from "./temp-folder.ts";

const own = { baseUrl: "https://api.example.com/" };
const hints = (...matches: string[]) => ({ pathHints: matches.map((match) => ({ match, message: "m" })) });
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const headersOf = (count: number, value: string) => Object.fromEntries(many(count, (i) => [`X-${i}`, value]));

function problemsIn(
  members: object,
): readonly { readonly at: string; readonly text: string; readonly isBudget: boolean }[] {
  const defined = defineService("x", { ...own, ...members }, "runtime", false);
  if (!("problems" in defined)) return [];
  return defined.problems.map(({ path, text, isBudget = false }) => ({ at: path.slice(2).join("."), text, isBudget }));
}

describe("a definition within its budget", () => {
  test.each<[string, object]>([
    ["32 hints of 200 characters", hints(...many(32, (i) => `^/${i % 10}${"a".repeat(197)}`))],
    ["a counted repetition", hints("^/[0-9a-f]{64}$", "^/(?:[a-z]{2,10}/){1,20}x", "^/[A-Z]{1000}$")],
    ["classes of Unicode", hints("^/\\p{L}+/[\\p{Greek}\\d]+$")],
    ["64 headers", { headers: headersOf(32, "v"), setHeaders: Object.fromEntries(many(32, (i) => [`Y-${i}`, "v"])) }],
    ["8 KiB of headers", { headers: { "X-A": "v".repeat(8_192 - 3) } }],
    ["64 versions", { versionedBaseUrls: Object.fromEntries(many(64, (i) => [`v${i}`, own.baseUrl])) }],
  ])("A service with %s is valid", (_, members) => {
    expect(problemsIn(members)).toEqual([]);
  });
});

describe("a definition over its budget", () => {
  test.each<[string, string, object]>([
    ["33 hints", "pathHints", hints(...many(33, () => "^/a"))],
    ["six thousand hints", "pathHints", hints(...many(6_000, () => "a{1000}".repeat(28)))],
    ["a hint of 201 characters", "pathHints.0.match", hints("a".repeat(201))],
    ["a message of 201 characters", "pathHints.0.message", { pathHints: [{ match: "a", message: "m".repeat(201) }] }],
    ["a long hint text", "pathHints.0.hint", { pathHints: [{ match: "a", message: "m", hint: "m".repeat(201) }] }],
    ["many counted repetitions", "pathHints", hints("a{1000}".repeat(28))],
    ["nested counted repetitions", "pathHints", hints("(a{1000}){1000}")],
    ["deeply nested counted repetitions", "pathHints", hints("((((a{9}){9}){9}){9}){9}")],
    ["a count of a group", "pathHints", hints(`(?:${"a".repeat(150)}){1000}`)],
    ["a count after flags", "pathHints", hints(`(${"a".repeat(100)})(?i){900}`)],
    ["repetitions of quoted text", "pathHints", hints(`(\\Q${"a".repeat(100)}\\E){1000}`)],
    ["many alternatives, repeated", "pathHints", hints(`(${many(40, () => "ab").join("|")}){1000}`)],
    ["empty alternatives, repeated", "pathHints", hints(`(${"|".repeat(100)}){1000}`)],
    ["repeated classes of Unicode", "pathHints", hints("\\pL{1000}")],
    ["many hints that are small each", "pathHints", hints(...many(32, () => "[ab]{500}"))],
    ["65 headers in two members", "headers", { headers: headersOf(64, "v"), setHeaders: { "Y-A": "v" } }],
    ["more than 8 KiB of headers", "setHeaders", { setHeaders: headersOf(9, "v".repeat(1_000)) }],
    ["65 headers to remove", "removeHeaders", { removeHeaders: many(65, (i) => `X-${i}`) }],
    [
      "a long header name",
      "auth.headerName",
      { auth: { type: "api-key", tokenEnvVar: "T", headerName: "x".repeat(257) } },
    ],
    [
      "65 versions",
      "versionedBaseUrls",
      { versionedBaseUrls: Object.fromEntries(many(65, (i) => [`v${i}`, own.baseUrl])) },
    ],
    ["a long base URL", "baseUrl", { baseUrl: `https://a.example/${"a".repeat(2_048)}` }],
    ["a long name", "name", { name: "n".repeat(201) }],
    ["a long file name", "tls.caFile", { tls: { caFile: "f".repeat(4_097) } }],
    ["a long list of methods", "methods", { methods: many(65, () => "GET") }],
  ])("A service with %s is refused within a moment", (_, at, members) => {
    const before = process.cpuUsage();
    const problems = problemsIn(members);
    const { user } = process.cpuUsage(before);
    expect(problems.map((problem) => problem.at)).toContain(at);
    expect(problems.every(({ isBudget }) => isBudget)).toBe(true);
    for (const { text } of problems) expect(text).toMatch(/at most/);
    expect(user / 1_000).toBeLessThan(500);
  });

  test("A malformed pattern is no matter of size, and its place is named", () => {
    expect(problemsIn(hints("a", "("))).toEqual([
      { at: "pathHints.1.match", text: expect.stringContaining("(RE2)"), isBudget: false },
    ]);
  });

  test("The limit and the size of the patterns are in the message", () => {
    const [problem] = problemsIn(hints("[ab]{1000}".repeat(9)));
    expect(problem?.text).toMatch(new RegExp(`at most ${PATTERNS_SIZE_LIMIT} instructions in all, these have \\d+;`));
  });
});

test("A services file in YAML that multiplies itself by aliases is refused", async () => {
  const levels = many(12, (i) => `a${i + 1}: &a${i + 1} [${many(9, () => `*a${i}`).join(", ")}]`);
  const text = `a0: &a0 [x, x]\n${levels.join("\n")}\nservices: {}\n`;
  const before = process.cpuUsage();
  expect(await problemsOf({ [SERVICES]: text })).toEqual([
    expect.stringContaining("nested too deeply or refers to itself"),
  ]);
  expect(process.cpuUsage(before).user / 1_000).toBeLessThan(1_000);
});
