import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KnownTexts } from "../../src/telemetry/known-texts.ts";
import { createGrowingMask, createSecretMask } from "../../src/telemetry/redact.ts";
import { costOf } from "../support/cost.ts";

/** Each character that any known text covers, found by a simple search. */
function coveredBy(texts: readonly string[], text: string): string {
  const covered = Array.from(text, () => " ");
  for (const known of texts) {
    for (let at = 0; known !== "" && at + known.length <= text.length; at++) {
      if (text.startsWith(known, at)) covered.fill("x", at, at + known.length);
    }
  }
  return covered.join("");
}

function found(texts: readonly string[], text: string): string {
  const known = new KnownTexts();
  for (const each of texts) known.add(each);
  const covered = Array.from(text, () => " ");
  let before = 0;
  for (const [start, end] of known.find(text)) {
    expect(start, "in order, and apart").toBeGreaterThanOrEqual(before);
    covered.fill("x", start, end);
    before = end;
  }
  return covered.join("");
}

/** Texts of two letters, so that they contain each other, begin alike and overlap. */
const alike = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "é"), maxLength });

describe("known texts", () => {
  test.each([
    ["few", 0, 8],
    ["many", 17, 60],
  ])(
    "All of %s known texts are found, also those that begin alike, contain each other or overlap",
    (_, minLength, maxLength) => {
      fc.assert(
        fc.property(
          fc.uniqueArray(alike(14), { minLength, maxLength }),
          fc.string({ unit: fc.constantFrom("a", "b", "é", "c"), maxLength: 60 }),
          (texts, text) => {
            expect(found(texts, text)).toBe(coveredBy(texts, text));
          },
        ),
      );
    },
  );

  test("Known texts are found at every position of a text", () => {
    const texts = Array.from({ length: 2_000 }, (_, i) => `token-${i}-${"k".repeat(i % 9)}`);
    for (const known of texts) {
      expect(found(texts.slice(0, 100), `${known}${known}-${known}`)).toBe(
        coveredBy(texts.slice(0, 100), `${known}${known}-${known}`),
      );
    }
    expect(createSecretMask(texts)(texts.map((known) => `<${known}>`).join(""))).toBe("<***>".repeat(2_000));
  });

  test("Of two overlapping known texts no part remains", () => {
    expect(createSecretMask(["abcdefgh", "efghijkl"])("x abcdefghijkl y")).toBe("x *** y");
  });

  test("A known text is found as soon as it is added", () => {
    const { mask, add } = createGrowingMask();
    for (let i = 0; i < 100; i++) {
      const secret = `secret-${i}-of-many`;
      expect(mask(`[${secret}]`)).toBe(`[${secret}]`);
      add([secret]);
      expect(mask(`[${secret}]`)).toBe("[***]");
    }
  });
});

describe("secrets that are exchanged", () => {
  test.each([
    ["few", 0, 8],
    ["many", 17, 60],
  ])("Of %s known texts, exactly those that were not removed are found", (_, minLength, maxLength) => {
    fc.assert(
      fc.property(
        fc.uniqueArray(alike(14), { minLength, maxLength }),
        fc.string({ unit: fc.constantFrom("a", "b", "é", "c"), maxLength: 60 }),
        fc.nat(100),
        (texts, text, share) => {
          const known = new KnownTexts();
          for (const each of texts) known.add(each);
          const removed = texts.filter((_text, at) => (at * 37) % 100 < share);
          for (const each of removed) known.remove(each);
          const covered = Array.from(text, () => " ");
          for (const [start, end] of known.find(text)) covered.fill("x", start, end);
          expect(covered.join("")).toBe(
            coveredBy(
              texts.filter((each) => !removed.includes(each)),
              text,
            ),
          );
        },
      ),
    );
  });

  test("The secrets that an owner keeps replace its earlier ones, and those of others stay", () => {
    const { mask, add, keep } = createGrowingMask();
    const [one, other] = [{}, {}];
    add(["configured-secret"]);
    keep(one, ["first-secret", "shared-secret", "configured-secret"]);
    keep(other, ["shared-secret"]);
    expect(mask("first-secret shared-secret configured-secret")).toBe("*** *** ***");
    keep(one, ["second-secret"]);
    expect(mask("first-secret second-secret shared-secret configured-secret")).toBe("first-secret *** *** ***");
    keep(other, []);
    expect(mask("shared-secret")).toBe("shared-secret");
  });

  test("A mask of exchanged secrets neither grows nor becomes slower", async () => {
    const { mask, keep } = createGrowingMask();
    const owners = Array.from({ length: 20 }, () => ({}));
    const text = "GET /a/path/of/a/request HTTP/1.1 and more text of a log line ".repeat(50);
    const exchange = (from: number, rounds: number) => {
      for (let round = from; round < from + rounds; round++) {
        for (const [at, owner] of owners.entries()) {
          keep(
            owner,
            [round, round + 1].map((each) => `${(each * 7_919 + at).toString(36)}-exchanged-secret`),
          );
        }
      }
    };
    exchange(0, 2);
    const before = await costOf(() => mask(text), 20);
    exchange(2, 500);
    expect(await costOf(() => mask(text), 20)).toBeLessThan(3 * before + 5);
  });
});

describe("cost of a mask", () => {
  const secrets = (count: number) => Array.from({ length: count }, (_, i) => `sk-live-${i}-${"0123456789".repeat(3)}`);
  const text = "The service svc12 has no credential: TOKEN_12 holds none of the sk-live- kind. ".repeat(100);

  test("Masking a text does not take longer with more secrets", async () => {
    const [few, many] = [createSecretMask(secrets(250)), createSecretMask(secrets(8_000))];
    expect(few(text)).toBe(many(text));
    // 32 times as many.
    expect(await costOf(() => many(text), 20)).toBeLessThan(8 * (await costOf(() => few(text), 20)));
  });

  test("Adding secrets one by one takes time in proportion to their number", async () => {
    const learn = (count: number) => () => {
      const { add } = createGrowingMask();
      for (const secret of secrets(count)) add([secret]);
    };
    expect(await costOf(learn(4_000))).toBeLessThan(24 * (await costOf(learn(500))) + 50);
  });
});
