/** Templates of the places of secrets: how they are read, filled and recognized again. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fillTemplate, parseTemplate, readTemplate, type Template, writeTemplate } from "../../src/config/template.ts";

function parsed(text: string): Template {
  const template = parseTemplate(text);
  if ("allowed" in template) throw new Error(template.allowed);
  return template;
}

describe("A template", () => {
  test.each([
    ["{token}", ["", ""], [["token", "plain"]]],
    ["Bearer {token}", ["Bearer ", ""], [["token", "plain"]]],
    ["Basic {pair|base64}", ["Basic ", ""], [["pair", "base64"]]],
    [
      'id="{id}", key="{key|base64}"',
      ['id="', '", key="', '"'],
      [
        ["id", "plain"],
        ["key", "base64"],
      ],
    ],
    ["fixed", ["fixed"], []],
  ])("%s has its texts and placeholders", (text, texts, placeholders) => {
    const template = parsed(text);
    expect(template.texts).toEqual(texts);
    expect(template.placeholders.map(({ secret, encoding }) => [secret, encoding])).toEqual(placeholders);
    expect(writeTemplate(template)).toBe(text);
  });

  test.each(["{token", "token}", "{{token}}", "{a|b}", "{a|base64|base64}", "{a} }", "x{"])("%s is none", (text) => {
    expect(parseTemplate(text)).toHaveProperty("allowed");
  });

  test.each([
    ["/bot{token}", "/botabc", ["abc"]],
    ["/bot{token}", "/bot", [""]],
    ["/bot{token}", "/boabc", undefined],
    ["/{a}/x/{b}", "/1/x/2", ["1", "2"]],
    ["/{a}/x/{b}", "/1/y/2", undefined],
    ["{a}.end", "abc.end", ["abc"]],
    ["{a}.end", ".en", undefined],
    ["aa{a}aa", "aaa", undefined],
    ["fixed", "fixed", []],
    ["fixed", "fixed2", undefined],
  ])("%s reads %s as %j", (template, text, found) => {
    expect(readTemplate(parsed(template), text)).toEqual(found);
  });

  test("Whatever a template was filled with is read again, unless it contains the text after its placeholder", () => {
    const texts = fc.array(
      fc.string({ minLength: 1, maxLength: 4 }).filter((text) => !/[{}|]/.test(text)),
      {
        minLength: 2,
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(texts, fc.array(fc.string({ maxLength: 6 }), { minLength: 4, maxLength: 4 }), (around, values) => {
        const written = around.map((text, index) => (index === 0 ? text : `{s${index}}${text}`)).join("");
        const template = parsed(written);
        const used = values.slice(0, around.length - 1);
        const isAmbiguous = used.some(
          (value, index) => (value + around[index + 1]).indexOf(around[index + 1] as string) < value.length,
        );
        fc.pre(!isAmbiguous);
        const filled = fillTemplate(template, (_, index) => used[index] as string);
        expect(readTemplate(template, filled)).toEqual(used);
      }),
    );
  });
});
