/** In which messages a placeholder is found, and what is left of a message whose placeholder is replaced. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createMessageMatcher, replaceText } from "../../../../src/data-plane/forward/websocket/message-match.ts";

const RULE = { match: [["op", [2, 6]]] as const, path: "d.token" };

/** The message after a replacement of `{token}`; undefined where it passes untouched. */
function replaced(message: string | Buffer, rule: Parameters<typeof createMessageMatcher>[0] = RULE) {
  const bytes = Buffer.from(message as string);
  const match = createMessageMatcher(rule).find(bytes);
  return match?.text === "{token}" ? replaceText(bytes, match.span, 'a"\u00e9\\n').toString() : undefined;
}

const WRITTEN = JSON.stringify('a"\u00e9\\n');

describe("A message", () => {
  test.each([
    ['{"op":2,"d":{"token":"{token}"}}', '{"op":2,"d":{"token":@}}'],
    [
      ' { "d" : { "x" : [ "{token}" , {} ] , "token" :\t"{token}" } ,\r\n"op" : 6 } ',
      ' { "d" : { "x" : [ "{token}" , {} ] , "token" :\t@ } ,\r\n"op" : 6 } ',
    ],
    ['{"op":2.0,"d":{"token":"{token}"}}', '{"op":2.0,"d":{"token":@}}'],
    ['{"op":2,"d":{"token":"\\u007btoken}"}}', '{"op":2,"d":{"token":@}}'],
    ['{"\\u006fp":2,"\\u0064":{"t\\u006fken":"{token}"}}', '{"\\u006fp":2,"\\u0064":{"t\\u006fken":@}}'],
    [
      '{"op":2,"s":"\\"}{\\\\","d":{"a":"é{token}","token":"{token}","b":"{token}"},"token":"{token}"}',
      '{"op":2,"s":"\\"}{\\\\","d":{"a":"é{token}","token":@,"b":"{token}"},"token":"{token}"}',
    ],
  ])("%s has its secret at the place of the rule alone", (message, expected) => {
    expect(replaced(message)).toBe(expected.replace("@", () => WRITTEN));
  });

  test.each([
    ["of another kind", '{"op":1,"d":{"token":"{token}"}}'],
    ["whose kind is a text", '{"op":"2","d":{"token":"{token}"}}'],
    ["without a kind", '{"d":{"token":"{token}"}}'],
    ["whose kind is an object", '{"op":{"a":2},"d":{"token":"{token}"}}'],
    ["with the placeholder in a longer text", '{"op":2,"d":{"token":"Bot {token}"}}'],
    ["with the placeholder elsewhere", '{"op":2,"d":{"content":"{token}","token":"x"}}'],
    ["with a list in place of the text", '{"op":2,"d":{"token":["{token}"]}}'],
    ["with a number in place of the text", '{"op":2,"d":{"token":7}}'],
    ["with a list on the path", '{"op":2,"d":[{"token":"{token}"}]}'],
    ["with a text on the path", '{"op":2,"d":"token"}'],
    ["that names the member twice", '{"op":2,"d":{"token":"{token}","token":"x"}}'],
    ["that names the member twice, once with an escape", '{"op":2,"d":{"token":"{token}","toke\\u006e":"x"}}'],
    ["that names the member twice, in another case", '{"op":2,"d":{"TOKEN":"x","token":"{token}"}}'],
    [
      "that names the member twice, with a letter that folds to the same",
      '{"op":2,"d":{"to\u212Aen":"x","token":"{token}"}}',
    ],
    ["that names a parent twice", '{"op":2,"d":{"token":"{token}"},"d":{}}'],
    ["that names its kind twice", '{"op":2,"op":8,"d":{"token":"{token}"}}'],
    ["that names the member in another case only", '{"op":2,"d":{"Token":"{token}"}}'],
    ["that is cut off", '{"op":2,"d":{"token":"{token}"}'],
    ["with more after it", '{"op":2,"d":{"token":"{token}"}} x'],
    ["with a comment", '{"op":2,/**/"d":{"token":"{token}"}}'],
    ["with a byte order mark", '\ufeff{"op":2,"d":{"token":"{token}"}}'],
    ["that is a list", '[2,{"token":"{token}"}]'],
    ["that is a text", '"{token}"'],
    ["that is empty", ""],
    ["nested too deeply to be anything", `{"op":2,"d":${"[".repeat(30_000)}"token"`],
    ["nested deeply", `{"op":2,"x":${"[".repeat(30_000)}${"]".repeat(30_000)},"d":{"token":"x"}}`],
  ])("A message %s passes untouched", (_, message) => {
    expect(replaced(message)).toBeUndefined();
  });

  test("A message in invalid UTF-8 passes untouched", () => {
    const message = Buffer.from('{"op":2,"x":"?","d":{"token":"{token}"}}');
    message[message.indexOf("?")] = 0xff;
    expect(replaced(message)).toBeUndefined();
  });

  test("Deep nesting beside the path does no harm", () => {
    const deep = `${"[".repeat(30_000)}${"]".repeat(30_000)}`;
    expect(replaced(`{"x":${deep},"op":2,"d":{"token":"{token}"}}`)).toBe(
      `{"x":${deep},"op":2,"d":{"token":${WRITTEN}}}`,
    );
  });

  test.each([
    ["a.1.b", '{"a":[{"b":"x"},{"b":"{token}"}]}', '{"a":[{"b":"x"},{"b":@}]}'],
    ["0", '["{token}","{token}"]', '[@,"{token}"]'],
    ["1", '{"1":"{token}"}', '{"1":@}'],
    ["__proto__.constructor", '{"__proto__":{"constructor":"{token}"}}', '{"__proto__":{"constructor":@}}'],
    ["schl\u00fcssel", '{"schl\u00fcssel":"{token}"}', '{"schl\u00fcssel":@}'],
    ["schl\u00fcssel", '{"schl\u00fcssel":"{token}","SCHL\u00dcSSEL":1}', undefined],
    ["a.length", '{"a":["{token}"]}', undefined],
    ["a.01", '{"a":["x","{token}"]}', undefined],
    ["a.2", '{"a":["{token}"]}', undefined],
    ["toString", "{}", undefined],
    ["__proto__.token", '{"token":"{token}"}', undefined],
  ])("The path %s leads in %s to %s", (path, message, expected) => {
    expect(replaced(message, { match: [], path })).toBe(expected?.replace("@", () => WRITTEN));
  });

  test("A rule may compare texts and truth values of several members", () => {
    const rule = {
      match: [
        ["a.b", ["auth"]],
        ["c", [true]],
      ] as const,
      path: "token",
    };
    expect(replaced('{"a":{"b":"auth"},"c":true,"token":"{token}"}', rule)).toBeDefined();
    expect(replaced('{"a":{"b":"auth"},"c":1,"token":"{token}"}', rule)).toBeUndefined();
    expect(replaced('{"a":{"b":"Auth"},"c":true,"token":"{token}"}', rule)).toBeUndefined();
  });

  test("In every JSON text the value at a path is the one that a parser finds, and nothing else changes", () => {
    const json = fc.json({ maxDepth: 4 });
    fc.assert(
      fc.property(json, json, fc.constantFrom("", " ", "\n\t"), (before, after, space) => {
        const around = (token: string) =>
          `{${space}"before":${before},${space}"d":{"a":${after},"token"${space}:${token}${space}},"op":2,"after":${after}}`;
        expect(replaced(around('"{token}"'))).toBe(around(WRITTEN));
      }),
    );
  });
});
