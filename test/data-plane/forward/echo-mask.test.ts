import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEchoMask } from "../../../src/data-plane/forward/echo-mask.ts";

const SECRET = 'sk/live+8Kd 72Lp0=="é';
const mask = (text: string, secret = SECRET) => createEchoMask([secret])?.mask(text) ?? text;
const bytesOf = (text: string) => Buffer.from(text, "utf8").toString("latin1");
const base64 = (text: string) => Buffer.from(text, "utf8").toString("base64");
const everyByte = (text: string, pick: (hex: string) => string) =>
  [...Buffer.from(text, "utf8")].map((byte) => `%${pick(byte.toString(16).padStart(2, "0"))}`).join("");

describe("mask of an injected secret", () => {
  test.each([
    ["raw, as its bytes", bytesOf(SECRET)],
    ["raw, as Latin-1", SECRET],
    ["in a quoted string", bytesOf(SECRET).replace(/["\\]/g, "\\$&")],
    ["percent-encoded", encodeURIComponent(SECRET)],
    [
      "percent-encoded in lower case",
      encodeURIComponent(SECRET).toLowerCase().replace("lp0", "Lp0").replace("kd", "Kd"),
    ],
    ["percent-encoded in every byte", everyByte(SECRET, (hex) => hex)],
    ["percent-encoded in mixed case", everyByte(SECRET, (hex) => `${hex[0]?.toUpperCase()}${hex[1]}`)],
    ["partly percent-encoded", `%73${bytesOf(SECRET).slice(1)}`],
    ["percent-encoded as a form", new URLSearchParams({ a: SECRET }).toString().slice(2)],
    ["percent-encoded twice", encodeURIComponent(encodeURIComponent(SECRET))],
    ["percent-encoded four times", [1, 2, 3, 4].reduce(encodeURIComponent as (text: string) => string, SECRET)],
  ])("A secret is masked %s, and what surrounds it stays as it is", (_, copy) => {
    expect(mask(`before=${copy}&after%zz%41`)).toBe("before=***&after%zz%41");
    expect(mask(copy)).toBe("***");
    expect(mask(`${copy};${copy}`)).toBe("***;***");
  });

  test.each([
    ["alone", base64(SECRET)],
    ["after a user name of any length", base64(`u:${SECRET}`)],
    ["after a longer user name", base64(`us:${SECRET}`)],
    ["after a scheme", base64(`Bearer ${SECRET}`)],
    ["before a colon", base64(`${SECRET}:`)],
    ["for URLs", Buffer.from(SECRET, "utf8").toString("base64url")],
    ["for URLs, after a user name", Buffer.from(`u:${SECRET}`, "utf8").toString("base64url")],
    ["without padding", base64(SECRET).replaceAll("=", "")],
    ["percent-encoded", encodeURIComponent(base64(SECRET))],
  ])("A secret is masked in base64 %s", (_, copy) => {
    const masked = mask(`Basic ${copy}`);
    expect(masked).toContain("***");
    // No run of characters that encodes a part of the secret is left.
    expect(masked.length).toBeLessThan(`Basic ${copy}`.length - 20);
  });

  test("No character that holds bits of the secret is left beside its base64, and at most one other is masked", () => {
    const length = bytesOf(SECRET).length;
    for (const before of ["", "u", "u:", "us:"])
      for (const after of ["", "x", "xy", "xyz"]) {
        const copy = base64(before + SECRET + after);
        const [left = "", right = ""] = mask(`"${copy}"`).slice(1, -1).split("***");
        const start = Math.floor((before.length * 8) / 6);
        const end = after === "" ? copy.length : Math.ceil(((before.length + length) * 8) / 6);
        expect([copy.slice(0, start), copy.slice(0, Math.max(0, start - 1))], copy).toContain(left);
        expect([copy.slice(end), copy.slice(end + 1)], copy).toContain(right);
      }
  });

  test("A secret with + and / in its base64 is masked in the alphabet for URLs", () => {
    const secret = "a?>b~?>c~?>d~?";
    expect(base64(secret)).toMatch(/[+/]/);
    expect(mask(Buffer.from(secret).toString("base64url"), secret)).toBe("***");
  });

  test("Of two secrets the longer one is masked whole, and overlapping copies are masked once", () => {
    const both = createEchoMask(["abcdefgh", "abcdefghijkl"]);
    expect(both?.mask("x abcdefghijkl y")).toBe("x *** y");
    expect(createEchoMask(["abcdefgh", "%61bcdefg"])?.mask("<%61bcdefgh>")).toBe("<***>");
    expect(createEchoMask(["abcdefgh", "%61bcdefgh12"])?.mask("<%61bcdefgh12>")).toBe("<***>");
  });

  test("Six encodings on top of each other are decoded, in a header too", () => {
    const copy = [1, 2, 3, 4, 5, 6].reduce(encodeURIComponent as (text: string) => string, "/secret/of/it");
    const headers = ["x-a", copy, "x-b", "plain"];
    createEchoMask(["/secret/of/it"])?.maskHeaders(headers);
    expect(headers).toEqual(["x-a", "***", "x-b", "plain"]);
  });

  test("What contains no copy is unchanged, and a secret of fewer than eight bytes is not searched", () => {
    for (const text of ["", "abc", "%", "%%%41", "sk/live+8Kd 72Lp0", 'W/"a18c3bded88eb5db"'])
      expect(mask(text)).toBe(text);
    expect(createEchoMask(["1234567", ""])).toBeUndefined();
    expect(mask("12345678", "12345678")).toBe("***");
  });

  test("The length of a body is never masked", () => {
    const headers = ["content-length", "12345678", "x-other", "12345678"];
    createEchoMask(["12345678"])?.maskHeaders(headers);
    expect(headers).toEqual(["content-length", "12345678", "x-other", "***"]);
  });

  test("No mixture of encodings brings a secret back", () => {
    const secret = "q8$Kd72+Lp0/x%";
    const encodings: ((text: string) => string)[] = [
      (text) => text,
      encodeURIComponent,
      (text) => everyByte(text, (hex) => hex),
      (text) => `a=${text}&b`,
      (text) => text.replace(/[a-z]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...encodings), { maxLength: 3 }), (steps) => {
        // The first step must encode the percent sign, or the text is another one to a reader.
        let masked = mask(
          steps.reduce((text, encode) => encode(text), encodeURIComponent(secret)),
          secret,
        );
        for (let i = 0; i < 5; i++) {
          expect(masked).not.toContain(secret);
          try {
            masked = decodeURIComponent(masked);
          } catch {
            return;
          }
        }
      }),
    );
  });

  test("A long value costs little", () => {
    const startedAt = performance.now();
    for (const unit of ["%25", "%2525", "%", "sk/live+8K", "s", base64(SECRET).slice(0, 10)])
      mask(unit.repeat(64_000 / unit.length));
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });
});
