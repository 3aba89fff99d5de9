import { describe, expect, test } from "vitest";
import { BodyStream } from "../../../../src/data-plane/forward/scrub/body-stream.ts";
import { createScanner, type Scanner } from "../../../../src/data-plane/forward/scrub/scanner.ts";
import { isTextLike, unsearchableCharset } from "../../../../src/data-plane/forward/scrub/text-like.ts";

function scannerOf(...secrets: string[]): Scanner {
  const scanner = createScanner(secrets);
  if (scanner === undefined) throw new Error("no secret");
  return scanner;
}

/** Whole, and one byte at a time; both must give the same. */
function scrub(scanner: Scanner, body: string | Buffer): string {
  const bytes = Buffer.from(body as string);
  const whole = new BodyStream(() => scanner).end(Buffer.from(bytes)).toString("latin1");
  const stream = new BodyStream(() => scanner);
  let single = "";
  for (const byte of bytes) single += stream.push(Buffer.of(byte)).toString("latin1");
  expect(single + stream.end(Buffer.alloc(0)).toString("latin1")).toBe(whole);
  expect(whole).toHaveLength(bytes.length);
  return whole;
}

const isMasked = (text: string) => /^\*+$/.test(text);

describe("A secret in a body", () => {
  test.each([
    ["raw", "s3cret/é€😀-x"],
    ["in Latin-1", Buffer.from("s3cret/\xe9-abc", "latin1")],
    ["escaped by JSON", "s3cret\\/\\u00e9\\u20AC\\ud83d\\uDE00-x"],
    ["escaped by JSON in part", "s3cret/é\\u20ac😀-\\u0078"],
    ["escaped by JSON twice", "s3cret\\\\\\/\\\\u00e9€\\\\ud83d\\\\ude00-x"],
    ["percent-encoded", encodeURIComponent("s3cret/é€😀-x")],
    ["percent-encoded twice", encodeURIComponent(encodeURIComponent("s3cret/é€😀-x"))],
    ["in base64", Buffer.from("s3cret/é€😀-x").toString("base64")],
  ])("is masked although it has characters beyond ASCII: %s", (spelling, body) => {
    const secret = spelling === "in Latin-1" ? "s3cret/é-abc" : "s3cret/é€😀-x";
    expect(scrub(scannerOf(secret), body).replace(/=+$/, "")).toSatisfy(isMasked);
  });

  test("of 4 KiB is masked in each spelling, and nothing around it is", () => {
    const secret = Buffer.from(Array.from({ length: 3072 }, (_, i) => (i * 7919 + (i >> 8)) % 251)).toString("base64");
    expect(secret).toHaveLength(4096);
    const scanner = scannerOf(secret);
    for (const copy of [
      secret,
      encodeURIComponent(secret),
      secret.replaceAll("/", "\\/"),
      secret.replaceAll("/", "&#x2F;"),
    ]) {
      expect(scrub(scanner, `<${copy}>`)).toBe(`<${"*".repeat(copy.length)}>`);
    }
    expect(scrub(scanner, `<${secret.slice(0, -1)}!>`)).toBe(`<${secret.slice(0, -1)}!>`);
  });

  test.each([
    ["made of asterisks", ["********"], "a ******** b", "a ******** b"],
    ["with NUL", ["ab\0cd\0efgh"], "xab\0cd\\u0000efghx", `x${"*".repeat(15)}x`],
    ["made of characters of patterns", [".*+?^$(){}|[]"], "(.*+?^$(){}|[])", `(${"*".repeat(13)})`],
    ["that overlaps itself", ["abcabcabc"], "xabcabcabcabcx", `x${"*".repeat(12)}x`],
    [
      "that is the beginning of another",
      ["12345678", "1234567890"],
      "1234567890 12345678x",
      `${"*".repeat(10)} ${"*".repeat(8)}x`,
    ],
    ["that overlaps another", ["aaaa1111", "1111bbbb"], "aaaa1111bbbb", "*".repeat(12)],
    ["with a backslash", ['a\\b"c/d-e'], '{"x":"a\\\\b\\"c\\/d-e"}', `{"x":"${"*".repeat(12)}"}`],
    ["with a space", ["user name:pw"], "user+name%3Apw", "*".repeat(14)],
    ["in HTML", ["a&b<c>d'e\"f"], "a&amp;b&lt;c&gt;d&#39;e&quot;f", "*".repeat(30)],
  ])("%s is masked", (_, secrets, body, expected) => {
    expect(scrub(scannerOf(...secrets), body)).toBe(expected);
  });

  test.each([0, 1, 2, 3, 4, 5])(
    "in base64 is masked after %i other bytes, with every bit that it determines",
    (offset) => {
      const secret = "Kx9-2mQv7";
      for (const alphabet of ["base64", "base64url"] as const) {
        const text = Buffer.from(`${"u".repeat(offset)}${secret}zz`).toString(alphabet);
        const masked = scrub(scannerOf(secret), text);
        const readable = Buffer.from(masked.replaceAll("*", "A"), "base64").toString("latin1");
        for (const character of secret) expect(readable).not.toContain(character);
        expect(masked).toMatch(/^[^*]*\*+[^*]*$/);
      }
    },
  );
});

describe("A byte that begins no secret", () => {
  const scanner = scannerOf("sk-0123456789");

  test.each(["data: 1\n\n", '{"a":1}\n', "x%20", "\\/", "a&.", "%"])("leaves at once: %j", (text) => {
    const stream = new BodyStream(() => scanner);
    const passed = stream.push(Buffer.from(text)).toString();
    // Only what a spelling of the secret may begin with is held: base64 of it may begin with some letters.
    expect(passed).toBe(text.replace(/[%]$/, ""));
  });

  test("leaves at once, although the bytes after it may begin a secret and wait", () => {
    const stream = new BodyStream(() => scanner);
    expect(stream.push(Buffer.from("task-1 ask")).toString()).toBe("task-1 a");
    expect(stream.push(Buffer.from("-")).toString()).toBe("");
    expect(stream.push(Buffer.from("x\n")).toString()).toBe("sk-x\n");
    expect(stream.push(Buffer.from("%7")).toString()).toBe("");
    expect(stream.push(Buffer.from("4 %8")).toString()).toBe("%74 %8");
  });
});

test.each([
  [undefined, true],
  ["", true],
  ["text/plain", true],
  ["text/event-stream; charset=utf-8", true],
  ["APPLICATION/JSON", true],
  ["application/vnd.api+json;v=1", true],
  ["application/x-ndjson", true],
  ["application/problem+xml", true],
  ["image/svg+xml", true],
  ["application/javascript", true],
  ["application/x-www-form-urlencoded", true],
  ["multipart/form-data; boundary=x", true],
  ["json", true],
  ["image/png, text/html", true],
  ["application/octet-stream", false],
  ["image/png", false],
  ["application/zip", false],
  ["application/vnd.openxmlformats-officedocument.wordprocessingml.document", false],
  ["video/mp4; x=json", false],
])("A body of type %s is searched: %s", (contentType, expected) => {
  expect(isTextLike(contentType)).toBe(expected);
});

test.each([
  ["text/plain; charset=utf-8", undefined],
  ["text/plain; charset=iso-8859-1", undefined],
  ["text/plain; charset=windows-1252", undefined],
  ["text/plain", undefined],
  ["text/plain; charset=UTF-16", "UTF-16"],
  ['text/plain; a=b; charset="utf-32be"', "utf-32"],
  ["text/plain;charset=utf-7", "utf-7"],
  ["text/plain;charset=ucs-2", "ucs-2"],
])("The charset of %s that cannot be searched is %s", (contentType, expected) => {
  expect(unsearchableCharset(contentType)).toBe(expected);
});
