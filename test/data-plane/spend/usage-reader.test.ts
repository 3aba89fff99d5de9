/** What the usage reader takes from responses of the vendors' forms, and from hostile ones. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createUsageReader, type ReadUsage } from "../../../src/data-plane/spend/usage-reader.ts";

function read(text: string, isStream = false, cuts: readonly number[] = []): ReadUsage {
  const reader = createUsageReader(isStream);
  const body = Buffer.from(text);
  const borders = [0, ...cuts.map((cut) => cut % (body.length + 1)), body.length].sort((a, b) => a - b);
  for (let i = 1; i < borders.length; i++) reader.push(body.subarray(borders[i - 1], borders[i]));
  return reader.read();
}

const countsOf = (text: string, isStream = false) => read(text, isStream).counts;
const event = (data: object, type?: string) =>
  `${type === undefined ? "" : `event: ${type}\n`}data: ${JSON.stringify(data)}\n\n`;

const OPENAI = JSON.stringify({
  id: "chatcmpl-1",
  object: "chat.completion",
  model: "gpt-4o-mini",
  choices: [
    {
      index: 0,
      message: {
        role: "assistant",
        content: '{"usage":{"prompt_tokens":999999}} "usage": {"prompt_tokens": 1}',
        usage: { prompt_tokens: 5_000 },
      },
    },
  ],
  metadata: { usage: { prompt_tokens: 4_000 }, model: "decoy" },
  usage: {
    prompt_tokens: 19,
    completion_tokens: 10,
    total_tokens: 29,
    prompt_tokens_details: { cached_tokens: 4, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, cached_tokens: 77 },
  },
});

const OPENAI_STREAM = [
  ...["Hello", ' {"usage":{"prompt_tokens":7}} ', " world \u2028 \\"].map((content) =>
    event({ id: "c1", model: "gpt-4o", choices: [{ delta: { content } }], usage: null }),
  ),
  event({
    id: "c1",
    model: "gpt-4o",
    choices: [],
    usage: { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 },
  }),
  "data: [DONE]\n\n",
].join("");

const ANTHROPIC_STREAM = [
  event(
    {
      type: "message_start",
      message: {
        id: "msg_1",
        type: "message",
        model: "claude-sonnet-4-5",
        usage: { input_tokens: 25, cache_creation_input_tokens: 100, cache_read_input_tokens: 50, output_tokens: 1 },
      },
    },
    "message_start",
  ),
  event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello" } }, "content_block_delta"),
  ": ping\r\n\r\n",
  event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 7 } }, "message_delta"),
  event({ type: "message_delta", delta: {}, usage: { output_tokens: 15 } }, "message_delta"),
  event({ type: "message_stop" }, "message_stop"),
].join("");

const RESPONSES_STREAM = [
  event({ type: "response.created", response: { id: "resp_1", model: "gpt-4o", usage: null } }, "response.created"),
  event({ type: "response.output_text.delta", delta: "Hi" }, "response.output_text.delta"),
  event(
    {
      type: "response.completed",
      response: {
        id: "resp_1",
        model: "gpt-4o-2024-08-06",
        output: [{ content: [{ text: "Hi", usage: { input_tokens: 1_000 } }] }],
        usage: {
          input_tokens: 37,
          input_tokens_details: { cached_tokens: 30 },
          output_tokens: 11,
          output_tokens_details: { reasoning_tokens: 5 },
          total_tokens: 48,
        },
        metadata: { usage: "no" },
      },
    },
    "response.completed",
  ),
].join("");

describe("Usage in responses", () => {
  test("A chat completion reports its tokens, with cached ones apart; a usage inside a text, a choice or metadata does not count", () => {
    expect(read(OPENAI)).toMatchObject({
      counts: { input: 15, cached: 4, output: 10 },
      model: "gpt-4o-mini",
      id: "chatcmpl-1",
    });
  });

  test("A message of Anthropic reports tokens of its cache beside its input", () => {
    const usage = { input_tokens: 5, cache_creation_input_tokens: 20, cache_read_input_tokens: 7, output_tokens: 9 };
    const message = { type: "message", model: "m", content: [{ type: "text", text: "x" }], usage };
    expect(countsOf(JSON.stringify(message))).toEqual({ input: 25, cached: 7, output: 9 });
  });

  test("Embeddings have no output; reasoning that only the total contains is output", () => {
    expect(countsOf('{"usage":{"prompt_tokens":8,"total_tokens":8}}')).toEqual({ input: 8, cached: 0, output: 0 });
    expect(countsOf('{"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":30}}')).toEqual({
      input: 8,
      cached: 0,
      output: 22,
    });
    expect(countsOf('{"usage":{"total_tokens":30}}')).toEqual({ input: 30, cached: 0, output: 0 });
  });

  test("Members of both forms are counted once: zeros in one, and Anthropic's cache as a part of OpenAI's prompt", () => {
    const both = { input_tokens: 5, output_tokens: 2, prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    expect(countsOf(JSON.stringify({ usage: both }))).toEqual({ input: 5, cached: 0, output: 2 });
    const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110, cache_read_input_tokens: 80 };
    expect(countsOf(JSON.stringify({ usage: { ...usage, cache_creation_input_tokens: 15 } }))).toEqual({
      ...{ input: 20, cached: 80, output: 10 },
    });
  });

  test("Zeros in the events of a stream that was cut off report nothing", () => {
    const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    const text = event({ id: "c1", choices: [{ delta: { content: "y".repeat(400) } }], usage });
    expect(read(text, true)).toMatchObject({ counts: undefined, writtenTokens: 100 });
  });

  test("Streams of chat completions, messages and the Responses API report their last usage, once", () => {
    expect(read(OPENAI_STREAM, true)).toMatchObject({ counts: { input: 11, cached: 0, output: 3 }, model: "gpt-4o" });
    expect(read(ANTHROPIC_STREAM, true)).toMatchObject({
      counts: { input: 125, cached: 50, output: 15 },
      model: "claude-sonnet-4-5",
      id: "msg_1",
    });
    expect(read(RESPONSES_STREAM, true)).toMatchObject({ counts: { input: 7, cached: 30, output: 11 }, id: "resp_1" });
  });

  test("A stream that was cut off is estimated from what the model wrote", () => {
    const cut = OPENAI_STREAM.slice(0, OPENAI_STREAM.lastIndexOf("prompt_tokens"));
    const { counts, writtenTokens } = read(cut, true);
    expect(counts).toBeUndefined();
    expect(writtenTokens).toBe(11);
    expect(read(ANTHROPIC_STREAM.slice(0, ANTHROPIC_STREAM.indexOf("message_delta")), true).counts).toMatchObject({
      input: 125,
      output: 1,
    });
  });

  test("However the chunks are cut, the same is read", () => {
    const all = [
      ...[OPENAI, JSON.stringify(JSON.parse(OPENAI), null, 2)].map((text) => [text, false] as const),
      ...[OPENAI_STREAM, ANTHROPIC_STREAM, RESPONSES_STREAM].flatMap((text) => [
        [text, true] as const,
        [text.replaceAll("\n", "\r\n"), true] as const,
        [`\ufeff${text.replaceAll("\n", "\r")}`, true] as const,
      ]),
    ];
    for (const [text, isStream] of all) {
      const whole = read(text, isStream);
      expect(whole.counts).toBeDefined();
      const everyByte = Array.from({ length: text.length }, (_, i) => i);
      expect(read(text, isStream, everyByte)).toEqual(whole);
      fc.assert(
        fc.property(fc.array(fc.nat(text.length), { maxLength: 20 }), (cuts) => {
          expect(read(text, isStream, cuts)).toEqual(whole);
        }),
        { numRuns: 30 },
      );
    }
  });

  test.each([
    ["a negative number", '{"usage":{"prompt_tokens":-5}}', undefined],
    ["NaN", '{"usage":{"prompt_tokens":NaN}}', undefined],
    ["a number beyond all numbers", '{"usage":{"prompt_tokens":1e999}}', undefined],
    ["more than any response costs", '{"usage":{"prompt_tokens":10000000000}}', undefined],
    ["a text", '{"usage":{"prompt_tokens":"12"}}', undefined],
    ["a hexadecimal number", '{"usage":{"prompt_tokens":0x10}}', undefined],
    ["an object", '{"usage":{"prompt_tokens":{"prompt_tokens":4}}}', undefined],
    ["a list around it", '[{"usage":{"prompt_tokens":4}}]', undefined],
    ["a usage that is a list", '{"usage":[{"prompt_tokens":4}]}', undefined],
    ["a usage too deep", '{"data":{"usage":{"prompt_tokens":4}}}', undefined],
    ["another document after it", '{}{"usage":{"prompt_tokens":4}}', undefined],
    ["a fraction", '{"usage":{"prompt_tokens":1.5}}', { input: 2, cached: 0, output: 0 }],
    ["an exponent", '{"usage":{"prompt_tokens":1e2}}', { input: 100, cached: 0, output: 0 }],
    ["an escaped name", '{"us\\u0061ge":{"prompt_tokens":4}}', { input: 4, cached: 0, output: 0 }],
    ["a second usage", '{"usage":{"prompt_tokens":4},"usage":{"prompt_tokens":9}}', { input: 9, cached: 0, output: 0 }],
    [
      "more cached tokens than input",
      '{"usage":{"prompt_tokens":4,"prompt_tokens_details":{"cached_tokens":9}}}',
      { input: 0, cached: 4, output: 0 },
    ],
    ["a usage after it that is null", '{"usage":{"prompt_tokens":4},"x":null}', { input: 4, cached: 0, output: 0 }],
  ])("Of %s the reader takes what other readers would take, or nothing", (_, text, counts) => {
    expect(countsOf(text)).toEqual(counts);
    expect(countsOf(`data: ${text}\n\n`, true)).toEqual(counts);
  });

  test("Deep nesting, endless white space and a text of 20 MB are read in bounded memory and linear time", () => {
    const reader = createUsageReader(false);
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    const startedAt = performance.now();
    const push = (text: string, times: number) => {
      const chunk = Buffer.from(text.repeat(1_000));
      for (let i = 0; i < times; i++) reader.push(chunk);
    };
    reader.push(Buffer.from('{"a":'));
    push('{"usage":{"prompt_tokens":[', 300);
    push("]}}", 300);
    reader.push(Buffer.from(',"content":"'));
    push('x"'.replace('"', '\\"'), 4_000);
    push("prompt ", 1_000);
    reader.push(Buffer.from('","usage":'));
    push(" \n", 1_000);
    reader.push(Buffer.from('{"prompt_tokens":3}}'));
    expect(reader.read().counts).toEqual({ input: 3, cached: 0, output: 0 });
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(30_000_000);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  test("Any bytes are read without an error", () => {
    const piece = fc.constantFrom(
      ...'{}[]":,\\ \n',
      "usage",
      "data:",
      "message",
      '"usage":{"prompt_tokens":',
      "1",
      "\u0000",
      "é",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 80 }), fc.boolean(), (pieces, isStream) => {
        const { counts } = read(pieces.join(""), isStream);
        for (const count of Object.values(counts ?? {})) expect(count).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 2_000 },
    );
  });
});
