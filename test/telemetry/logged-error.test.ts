/** Which parts of an error are logged: an allow-list, whatever a library attaches to it. */
import { expect, test } from "vitest";
import { loggedError } from "../../src/telemetry/logged-error.ts";
import { createLogger } from "../../src/telemetry/logger.ts";

const BYTES = "Set-Cookie: session=of-a-user";

function withBytes<T extends Error>(error: T): T {
  const bytes = Buffer.from(BYTES);
  return Object.assign(error, {
    rawPacket: bytes,
    data: BYTES,
    input: BYTES,
    response: { body: BYTES },
    reason: BYTES,
  });
}

test("A logged error has its type, code, message and stack, and no other member, at any depth", async () => {
  const deep = withBytes(new TypeError("deep"));
  const cause = withBytes(new AggregateError([withBytes(new Error("first")), deep], "all failed", { cause: deep }));
  const error = withBytes(Object.assign(new Error("parse error", { cause }), { code: "HPE_INVALID_HEADER_TOKEN" }));
  let text = "";
  const mask = (each: string) => each;
  const sink = {
    write(lines: string) {
      text += lines;
    },
    flushSync() {},
  };
  const options = { level: "info", format: "json", isEnabled: true, isAccessLogged: true } as const;
  const logger = await createLogger({ ...options, mask, maskKeys: mask, sink });
  logger.warn({ err: error }, "in a member");
  logger.error(error, "as it is");
  for (const line of text.trim().split("\n")) {
    expect(JSON.parse(line).err).toEqual({
      type: "Error",
      code: "HPE_INVALID_HEADER_TOKEN",
      message: "parse error",
      stack: expect.stringContaining("logged-error.test.ts"),
      cause: expect.objectContaining({
        type: "AggregateError",
        message: "all failed",
        cause: expect.objectContaining({ type: "TypeError", message: "deep" }),
        errors: [expect.objectContaining({ message: "first" }), expect.objectContaining({ message: "deep" })],
      }),
    });
  }
  expect(text.split("\n")).toHaveLength(3);
  expect(text + text.replaceAll(",", "")).not.toMatch(/of-a-user|rawPacket|5310111645/);
});

test.each([
  ["a text", "GET /x?token=abc failed", { type: "string", message: "GET /x?token=*** failed" }],
  ["an object", { body: BYTES }, { type: "object", message: "object was thrown" }],
  ["null", null, { type: "null", message: "null was thrown" }],
  ["a buffer", Buffer.from(BYTES), { type: "object", message: "object was thrown" }],
] as const)("A thrown value that is not an error is logged without its content: %s", (_, thrown, logged) => {
  expect(loggedError(thrown)).toEqual(logged);
});

test("A logged error is bounded, however long, deep or circular it is", () => {
  const circular = new Error("x".repeat(1_000_000));
  circular.cause = circular;
  const many = new AggregateError(Array.from({ length: 10_000 }, () => circular));
  expect(JSON.stringify(loggedError(circular)).length).toBeLessThan(50_000);
  expect(JSON.stringify(loggedError(many)).length).toBeLessThan(500_000);
});

test.each([
  ["https://x.example/a?token=abc&b=c", "https://x.example/a?token=***&b=***"],
  ["https://user:pass@x.example/a", "https://***@x.example/a"],
  ["https://api.telegram.org/bot1:AAxx/getMe", "https://api.telegram.org/bot***/getMe"],
])("A URL in the message or the stack of an error is masked: %s", (url, masked) => {
  const { message, stack } = loggedError(new Error(`connect to ${url} failed`));
  expect(message).toBe(`connect to ${masked} failed`);
  expect(stack?.split("\n")[0]).toBe(`Error: connect to ${masked} failed`);
});

test("A logged error has the name of its class and a number as code; one without a stack has none", () => {
  class QueueError extends Error {}
  const error = Object.assign(new QueueError("x"), { code: 42, stack: undefined });
  expect(loggedError(error)).toEqual({ type: "QueueError", code: 42, message: "x" });
});

test("A stack is logged up to its own limit, which is larger than that of a message", () => {
  const error = Object.assign(new Error("x"), { stack: "y".repeat(9_000) });
  expect(loggedError(error).stack).toBe(`${"y".repeat(8_000)}…`);
});

test("A code that is not a word is not logged", () => {
  expect(loggedError(Object.assign(new Error("x"), { code: `${BYTES}\r\n` }))).not.toHaveProperty("code");
  expect(loggedError(Object.assign(new Error("x"), { code: { BYTES } }))).not.toHaveProperty("code");
});

test("An error whose members cannot be read is logged as such", () => {
  const trap = () => {
    throw new Error("trap");
  };
  expect(loggedError(new Proxy(new Error("x"), { get: trap }))).toEqual({
    type: "object",
    message: "an error that cannot be read was thrown",
  });
});
