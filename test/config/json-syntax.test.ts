/** Faults of a JSON text, in terms of JSON and at their position, without a part of the text. */
import { expect, test } from "vitest";
import { parseText } from "../../src/config/document.ts";

test.each([
  ["a comma after the last member", '{\n "a": {"b": 1,}}}', "2:15: found a comma without a value after it"],
  ["a comma after the last value of a list", '{"a": [1, 2,}', "1:13: found a comma without a value after it"],
  ["a name without quotes", '{"a": 1, b: 2}}', "1:10: found a word without double quotes"],
  ["single quotes", "{'a': {}}}", "1:2: found a word without double quotes"],
  ["no colon", '{"a" 1}', "1:6: found no : after a name"],
  ["no comma", '{"a": 1\n "b": 2}', "2:2: found no comma between two values"],
  ["an object without its end", '{"services": {"a": {}}', "1:23: found no } at the end of an object"],
  ["a list without its end", '{"a": [1, 2', "1:12: found no ] at the end of a list"],
  ["text after the end", '{"a": 1}}', "1:9: found text after the last }"],
  ["a text without its end", '{"a": "secret-text\n}', '1:7: found a text without a " at its end'],
  ["an escape that does not exist", '{"a": "\\q"}', "1:7: found an escape sequence that JSON does not know"],
])("A JSON text with %s is explained in terms of JSON", (_, text, problem) => {
  expect(parseText(text).problems).toEqual([`${problem}, allowed: JSON or YAML`]);
});

test("A text of YAML that begins as JSON does, and is valid, stays valid", () => {
  expect(parseText("{a: 1, b: [x,],}")).toMatchObject({ data: { a: 1, b: ["x"] }, problems: [] });
});

test("No problem quotes the text", () => {
  const secret = "a-secret-of-an-operator";
  for (const text of [`{"a": ${secret}`, `{"${secret}" 1}`, `{"a": "${secret}`, `{"a": 1 ${secret}}`]) {
    expect(parseText(text).problems.join()).not.toContain(secret);
  }
});
