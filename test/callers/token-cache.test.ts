/** The memory of verified tokens. */
import { expect, test } from "vitest";
import { TokenCache } from "../../src/callers/token-cache.ts";
import { TokenKey } from "../../src/callers/token-key.ts";

const keyOf = (digest: string) =>
  new TokenKey({ digest, claims: { exp: 10_000 }, tenure: { isOver: false } }, undefined, () => 0);

test("However many tokens are verified, the cache is bounded and keeps the latest", () => {
  const cache = new TokenCache(10);
  for (let i = 0; i < 1_000; i++) cache.add(keyOf(String(i)), 0);
  expect(cache.size).toBeLessThanOrEqual(20);
  expect(cache.find("999", 0)?.digest).toBe("999");
  expect(cache.find("0", 0)).toBeUndefined();
  cache.clear();
  expect(cache.find("999", 0)).toBeUndefined();
});
