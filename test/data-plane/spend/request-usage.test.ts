/** What is added to a request so that its stream reports its usage. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { knowsUsageOption, withUsage } from "../../../src/data-plane/spend/request-usage.ts";

const change = (body: string) => withUsage(Buffer.from(body))?.toString();
const ADDED = '"stream_options":{"include_usage":true}';
const REST = '"é":"\\u00e9 \\ud83d","n" : 1e400';

describe("The request for usage", () => {
  test.each([
    ["as the first member", `{ "stream": true, ${REST} }`, `{${ADDED}, "stream": true, ${REST} }`],
    ["for an escaped name", `{"str\\u0065am":true}`, `{${ADDED},"str\\u0065am":true}`],
    [
      "in place of null",
      `{"stream":true, "stream_options" : null,${REST}}`,
      `{"stream":true, "stream_options" : {"include_usage":true},${REST}}`,
    ],
    [
      "to other options",
      '{"stream":true,"stream_options":{"x":[{}]}}',
      '{"stream":true,"stream_options":{"include_usage":true,"x":[{}]}}',
    ],
    [
      "to empty options",
      '{"stream":true,"stream_options":{ }}',
      '{"stream":true,"stream_options":{"include_usage":true }}',
    ],
    ["for a repeated member", '{"stream":true,"stream":true}', `{${ADDED},"stream":true,"stream":true}`],
    [
      "to repeated options, in any case",
      '{"stream":true,"stream_options":{"include_usage":true,"include_usage":false},"Stream_Options":null}',
      '{"stream":true,"stream_options":{"include_usage":true,"include_usage":true},"Stream_Options":{"include_usage":true}}',
    ],
    ["in place of false", '{"stream":true,"stream_options":{"include_usage":false}}', `{"stream":true,${ADDED}}`],
  ])("It is added %s, and every other byte stays", (_, body, expected) => {
    expect(change(body)).toBe(expected);
  });

  test.each([
    ["asks for it already", `{"stream":true,${ADDED}}`],
    ["does not stream", '{"stream":false}'],
    ["streams inside another member only", '{"x":{"stream":true}}'],
    ["has options that are a list", '{"stream":true,"stream_options":[]}'],
    ["is a list", '[{"stream":true}]'],
    ["is cut off", '{"stream":true'],
    ["is not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22]).toString("latin1")],
    ["has a byte order mark", '\ufeff{"stream":true}'],
    ["is empty", ""],
  ])("A body that %s is not changed", (_, body) => {
    expect(change(body)).toBeUndefined();
  });

  test("Whatever else the object has, the changed body is the same JSON with the option", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 6 }),
        fc.constantFrom(undefined, 1, "\t"),
        (others, space) => {
          const { stream: _, stream_options: __, ...rest } = others as Record<string, unknown>;
          fc.pre(Object.keys(rest).every((name) => !/^stream(?:_options)?$/i.test(name)));
          const body = JSON.stringify({ ...rest, stream: true }, null, space);
          expect(JSON.parse(change(body) as string)).toEqual({
            ...JSON.parse(body),
            stream_options: { include_usage: true },
          });
        },
      ),
    );
  });

  test("Only the endpoints that know the option are asked", () => {
    const paths = [
      "/v1/chat/completions",
      "/openai/deployments/x/completions",
      "/v1/messages",
      "/v1/responses",
      "/v1/completions/x",
    ];
    expect(paths.map(knowsUsageOption)).toEqual([true, true, false, false, false]);
    expect(knowsUsageOption("/v1/chat/%63ompletions")).toBe(true);
  });
});
