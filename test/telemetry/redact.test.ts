import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSecretMask, maskQuery, textsMasked } from "../../src/telemetry/redact.ts";

describe("logged URL", () => {
  test.each([
    ["/a", "/a"],
    ["/a?", "/a?"],
    ["/a?x=1", "/a?x=***"],
    ["/a?x=1&token=abc=&y=", "/a?x=***&token=***&y=***"],
    ["/a?secret", "/a?***"],
    ["/a?&&x=1&", "/a?&&x=***&"],
    ["/a?x=1?y=2", "/a?x=***"],
    ["/a?=v", "/a?=***"],
  ])("The URL %s is logged without values: %s", (url, masked) => {
    expect(maskQuery(url)).toBe(masked);
  });

  test("A logged URL never shows a value or a bare parameter, for any query", () => {
    const value = fc.string({ unit: "binary-ascii", minLength: 4 }).map((text) => `S3CR${text.replace(/[&=]/g, "")}`);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom("a=", "b=", "", "c%3d="), value)), (parameters) => {
        expect(maskQuery(`/p?${parameters.map((pair) => pair.join("")).join("&")}`)).not.toContain("S3CR");
      }),
    );
  });
});

describe("known secret", () => {
  test("A known secret is replaced in every spelling, longer secrets first", () => {
    const mask = createSecretMask(["abc/def+1", "abc"]);
    const text = `x abc/def+1 abc%2Fdef%2B1 ${Buffer.from("abc/def+1").toString("base64")} abc`;
    expect(mask(text)).toBe("x *** *** *** ***");
  });

  test("An empty secret replaces nothing", () => {
    expect(createSecretMask([""])("abc")).toBe("abc");
  });
});

test("Every text in a JSON value is masked while it is written", () => {
  const mask = createSecretMask(["secret"]);
  const value = { checks: [{ id: "a", evidence: { deep: ["a secret"] } }], summary: "the secret" };
  expect(JSON.parse(JSON.stringify(value, textsMasked(mask)))).toEqual({
    checks: [{ id: "a", evidence: { deep: ["a ***"] } }],
    summary: "the ***",
  });
});
