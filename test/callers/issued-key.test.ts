import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createIssuedKey,
  createKeyId,
  hasIssuedForm,
  isStoredKey,
  type StoredKey,
} from "../../src/callers/issued-key.ts";
import { digestOf } from "../../src/callers/presented-keys.ts";

describe("issued key", () => {
  test("An issued key is `bp_` with letters and digits, unique, and recognized by its form", () => {
    const keys = Array.from({ length: 2_000 }, createIssuedKey);
    expect(new Set(keys).size).toBe(keys.length);
    for (const key of keys) {
      expect(key).toMatch(/^bp_[0-9A-Za-z]{36}$/);
      expect(hasIssuedForm(key)).toBe(true);
    }
  });

  test("An issued key has at least 160 random bits: every letter is equally likely at every position", () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 5_000; i++) {
      for (const letter of createIssuedKey().slice(3, 33)) counts.set(letter, (counts.get(letter) ?? 0) + 1);
    }
    expect(counts.size).toBe(62);
    const expected = (5_000 * 30) / 62;
    for (const count of counts.values()) expect(Math.abs(count - expected)).toBeLessThan(expected * 0.15);
    expect(30 * Math.log2(62)).toBeGreaterThan(160);
  });

  test("A key with a changed, swapped, missing or additional letter is not an issued key", () => {
    fc.assert(
      fc.property(fc.nat(35), fc.constantFrom(..."0aZ-_ é"), (place, letter) => {
        const key = createIssuedKey();
        const at = 3 + place;
        const changed = key.slice(0, at) + letter + key.slice(at + 1);
        if (changed !== key) expect(hasIssuedForm(changed)).toBe(false);
        const exchanged = key.slice(0, at) + (key[at + 1] ?? "") + key[at] + key.slice(at + 2);
        if (exchanged !== key) expect(hasIssuedForm(exchanged)).toBe(false);
        expect(hasIssuedForm(key.slice(0, at) + key.slice(at + 1))).toBe(false);
        expect(hasIssuedForm(key.slice(0, at) + letter + key.slice(at))).toBe(false);
      }),
    );
  });

  test.each(["", "bp_", "sk_live_0123456789abcdefghijklmnopqrstuv", "BP_".padEnd(39, "0"), "bp_".padEnd(39, "0")])(
    "The text %j is not an issued key",
    (text) => {
      expect(hasIssuedForm(text)).toBe(false);
    },
  );

  test("Of a key only its SHA-256 is stored", () => {
    const key = createIssuedKey();
    expect(digestOf(key)).toBe(createHash("sha256").update(key).digest("hex"));
  });
});

describe("stored key", () => {
  const stored: StoredKey = {
    name: "ci",
    permissions: ["github:read"],
    createdAt: "2026-01-01T00:00:00.000Z",
    createdBy: "management-key",
    expiresAt: null,
    revokedAt: "2026-01-02T00:00:00Z",
    rateLimit: { maxRequests: 1, windowMs: 1_000 },
    allowIps: ["10.0.0.0/8"],
    digests: [{ sha256: "a".repeat(64), validUntil: null }],
  };

  test("A stored key is recognized by its form, also with additional fields of a newer gateway", () => {
    expect(isStoredKey(stored)).toBe(true);
    expect(isStoredKey({ ...stored, rateLimit: null, allowIps: [], permissions: ["from:the:/future"], more: 1 })).toBe(
      true,
    );
  });

  test.each<[string, unknown]>([
    ["name", 1],
    ["permissions", "github:read"],
    ["permissions", [1]],
    ["createdAt", "yesterday"],
    ["createdBy", null],
    ["expiresAt", undefined],
    ["expiresAt", 5],
    ["revokedAt", "never"],
    ["rateLimit", { maxRequests: 0, windowMs: 1 }],
    ["rateLimit", { maxRequests: 1 }],
    ["allowIps", null],
    ["digests", []],
    ["digests", [{ sha256: "A".repeat(64), validUntil: null }]],
    ["digests", [{ sha256: "a".repeat(63), validUntil: null }]],
    ["digests", [{ sha256: "a".repeat(64) }]],
    ["digests", ["a".repeat(64)]],
  ])("A record with the %s %j is not a stored key", (field, value) => {
    expect(isStoredKey({ ...stored, [field]: value })).toBe(false);
  });

  test("The id of a key is not a part of the key", () => {
    expect(createKeyId()).toMatch(/^key_[0-9A-Za-z]{12}$/);
    expect(createKeyId()).not.toBe(createKeyId());
  });
});
