/** The JSON reader reads what the YAML parser would read, and nothing that the YAML parser would refuse. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseText } from "../../src/config/document.ts";
import { readJson } from "../../src/config/read-json.ts";
import { costOf } from "../support/cost.ts";

const MAX_DEPTH = 100;

test("Any JSON value is read as the YAML parser reads it", () => {
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
      expect(readJson(text, MAX_DEPTH)?.data).toEqual(parse(text));
    }),
  );
});

test.each([
  ["the same name twice in an object", '{"a": 1, "b": {"c": 2, "c": 3}}'],
  ["the same name twice, once escaped", '{"a": 1, "\\u0061": 2}'],
  ["__proto__", '{"a": {"__proto__": {}}}'],
  ["__proto__, escaped", '{"__\\u0070roto__": 1}'],
  ["text that is nested too deeply", `${"[".repeat(MAX_DEPTH + 1)}${"]".repeat(MAX_DEPTH + 1)}`],
  ["YAML", "a: 1"],
  ["a comment", '{"a": 1} # b'],
  ["empty text", ""],
])("The JSON reader leaves %s to the YAML parser", (_, text) => {
  expect(readJson(text, MAX_DEPTH)).toBeUndefined();
});

test.each([
  ["colons, brackets, quotes and backslashes in strings", '{"a:b": "c:{\\"[\\\\", "d\\\\": ":"}'],
  ["text that is nested as deep as allowed", `${"[".repeat(MAX_DEPTH)}${"]".repeat(MAX_DEPTH)}`],
  ["names in lists", '[{"a": 1}, {"a": 2}]'],
])("The JSON reader reads %s", (_, text) => {
  expect(readJson(text, MAX_DEPTH)?.data).toEqual(JSON.parse(text));
});

test("A JSON file of 1,000 services is read many times faster than the same file as YAML", async () => {
  const services = Object.fromEntries(
    Array.from({ length: 1_000 }, (_, index) => [`s${index}`, { baseUrl: `https://api.example/${index}`, retries: 1 }]),
  );
  const text = JSON.stringify({ services });
  const yaml = `${text}\n# YAML`;
  expect(parseText(text).data).toEqual({ services });
  expect(parseText(yaml).data).toEqual({ services });
  const cost = await costOf(() => parseText(text), 30);
  expect(cost * 3).toBeLessThan(await costOf(() => parseText(yaml)));
});

test("A problem in a JSON file has its line and column", () => {
  const document = parseText('{\n  "services": { "a": 1 } }');
  expect(document.data).toEqual({ services: { a: 1 } });
  expect([document.position(["services", "a"], "value"), document.position(["services", "a"], "name")]).toEqual([
    "2:22",
    "2:17",
  ]);
});

describe("The position of a value or name", () => {
  /** The same text, read by the YAML parser. */
  const asYaml = (text: string) => parseText(`${text}\n# YAML`);
  const NAMES = ["a", "b", 'q"\\', "0", "é"];

  test("A value in JSON has the position that it has in YAML, in any layout", () => {
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
  ])("The time to find the positions of all services grows little faster than their number: %s", async (_, read) => {
    const cost = async (count: number) => {
      const services = Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}`, { baseUrl: "http://x" }]));
      const document = read(JSON.stringify({ services }, null, 2));
      document.position([], "value");
      return costOf(() => {
        for (const key of Object.keys(services)) document.position(["services", key, "baseUrl"], "value");
      }, 20);
    };
    // Eight times as many; a few milliseconds are within the noise.
    expect(await cost(1_000)).toBeLessThan(24 * (await cost(125)) + 20);
  });
});
