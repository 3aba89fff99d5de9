/** What is read as JSON without the YAML parser is what that would have read, and nothing that it would have refused. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseText } from "../../src/config/document.ts";
import { readPlainJson } from "../../src/config/plain-json.ts";
import { costOf } from "../support/cost.ts";

const DEEPEST = 100;

test("any value of JSON is the same value as by YAML", () => {
  const name = fc.string({ unit: "grapheme-ascii" }).filter((text) => text !== "__proto__");
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      ...[fc.string(), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean()],
      ...[fc.constant(null), fc.array(tie("value")), fc.dictionary(name, tie("value"), { noNullPrototype: true })],
    ),
  }));
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2, "\t"), (data, indent) => {
      const text = JSON.stringify(data, null, indent);
      expect(readPlainJson(text, DEEPEST)).toEqual({ data: parse(text) });
    }),
  );
});

test.each([
  ["the same name twice", '{"a": 1, "b": {"c": 2, "c": 3}}'],
  ["the same name twice, once escaped", '{"a": 1, "\\u0061": 2}'],
  ["__proto__", '{"a": {"__proto__": {}}}'],
  ["__proto__, escaped", '{"__\\u0070roto__": 1}'],
  ["what is nested too deep", `${"[".repeat(DEEPEST + 1)}${"]".repeat(DEEPEST + 1)}`],
  ["YAML", "a: 1"],
  ["a comment", '{"a": 1} # b'],
  ["nothing", ""],
])("%s is left to the YAML parser", (_, text) => {
  expect(readPlainJson(text, DEEPEST)).toBeUndefined();
});

test.each([
  ["colons, brackets, quotes and backslashes in texts", '{"a:b": "c:{\\"[\\\\", "d\\\\": ":"}'],
  ["as deep as allowed", `${"[".repeat(DEEPEST)}${"]".repeat(DEEPEST)}`],
  ["names in lists", '[{"a": 1}, {"a": 2}]'],
])("%s is read", (_, text) => {
  expect(readPlainJson(text, DEEPEST)).toEqual({ data: JSON.parse(text) });
});

test("a file of two thousand services is read many times faster than as YAML: nobody is served while a reload reads it", () => {
  const services = Object.fromEntries(
    Array.from({ length: 2_000 }, (_, index) => [`s${index}`, { baseUrl: `https://api.example/${index}`, retries: 1 }]),
  );
  const text = JSON.stringify({ services });
  const took = (read: string) => {
    const start = performance.now();
    expect(parseText(read).data).toEqual({ services });
    return performance.now() - start;
  };
  // The best of several: what else the machine does slows some of them down.
  const best = (read: string) => Math.min(...Array.from({ length: 5 }, () => took(read)));
  expect(best(text) * 3).toBeLessThan(best(`${text}\n# YAML`));
});

test("a problem in what was read as JSON is told with its line and column", () => {
  const document = parseText('{\n  "services": { "a": 1 } }');
  expect(document.data).toEqual({ services: { a: 1 } });
  expect([document.position(["services", "a"], "value"), document.position(["services", "a"], "name")]).toEqual([
    "2:22",
    "2:17",
  ]);
});

describe("the place of a value or name", () => {
  /** The same text, read by the YAML parser. */
  const asYaml = (text: string) => parseText(`${text}\n# YAML`);
  const NAMES = ["a", "b", 'q"\\', "0", "é"];

  test("in JSON is the one that it has as YAML, in any layout", () => {
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        ...[fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(tie("value"))],
        fc.dictionary(fc.constantFrom(...NAMES), tie("value"), { noNullPrototype: true }),
      ),
    }));
    const path = fc.array(fc.oneof(fc.constantFrom(...NAMES), fc.nat(3)), { maxLength: 5 });
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 2), path, (data, indent, path) => {
        const text = JSON.stringify(data, null, indent);
        for (const at of ["value", "name"] as const) {
          expect(parseText(text).position(path, at)).toBe(asYaml(text).position(path, at));
        }
      }),
    );
  });

  test.each([
    ["JSON", parseText],
    ["YAML", asYaml],
  ])("of each of thousands is found without looking at all the others: %s", async (_, read) => {
    const cost = async (count: number) => {
      const services = Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}`, { baseUrl: "http://x" }]));
      const document = read(JSON.stringify({ services }, null, 2));
      document.position([], "value");
      return costOf(() => {
        for (const key of Object.keys(services)) document.position(["services", key, "baseUrl"], "value");
      }, 20);
    };
    // Eight times as many; a few ms are nothing to tell anything by.
    expect(await cost(8_000)).toBeLessThan(24 * (await cost(1_000)) + 20);
  });
});
