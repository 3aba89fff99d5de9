/** The contract of every store of cached responses, as one suite. */
import { describe, expect, test } from "vitest";
import type { CacheStore, StoreBounds } from "../../src/data-plane/cache/cache-store.ts";
import { createStoredResponse, type StoredResponse } from "../../src/data-plane/cache/stored-response.ts";

export function response(body: string, variance = ""): StoredResponse {
  const received = { status: 200, reason: "OK", headers: { "cache-control": "max-age=60" }, body: Buffer.from(body) };
  const varies = variance === "" ? [] : ["x-request-id"];
  return createStoredResponse(received, {
    isShared: false,
    varies,
    variance,
    requestedAt: 0,
    respondedAt: 0,
    wallRespondedAt: 0,
  });
}

/** @param open a new, empty store. */
export function describeCacheStore(kind: string, open: (bounds: StoreBounds) => CacheStore): void {
  const bodies = (store: CacheStore, key: string) => store.find(key).map(({ body }) => String(body));

  describe(`cache store, ${kind}`, () => {
    test("Responses are found under their key, one for each variance, the newest first", () => {
      const store = open({ maxBytes: 1_000_000, maxEntries: 100 });
      store.put("k", "u", response("one", "a"));
      store.put("k", "u", response("two", "b"));
      store.put("k", "u", response("one again", "a"));
      expect(bodies(store, "k")).toEqual(["one again", "two"]);
      expect(bodies(store, "other")).toEqual([]);
      expect(store.usage().entries).toBe(2);
      store.remove("k", "a");
      store.remove("k", "no such variance");
      expect(bodies(store, "k")).toEqual(["two"]);
      store.remove("k", "b");
      expect(store.usage()).toEqual({ entries: 0, bytes: 0 });
    });

    test("A URL is invalidated under all keys, and nothing else is", () => {
      const store = open({ maxBytes: 1_000_000, maxEntries: 100 });
      store.put("k1", "u", response("1"));
      store.put("k2", "u", response("2"));
      store.put("k3", "other", response("3"));
      store.invalidate("u");
      expect([bodies(store, "k1"), bodies(store, "k2"), bodies(store, "k3")]).toEqual([[], [], ["3"]]);
      store.put("k1", "u", response("1"));
      expect(bodies(store, "k1")).toEqual(["1"]);
      store.clear();
      expect(store.usage()).toEqual({ entries: 0, bytes: 0 });
      store.invalidate("u");
    });

    test("The least recently used entries go first, by number and by bytes", () => {
      const few = open({ maxBytes: 1_000_000, maxEntries: 2 });
      few.put("k1", "u1", response("1"));
      few.put("k2", "u2", response("2"));
      few.find("k1");
      few.put("k3", "u3", response("3"));
      expect([bodies(few, "k1"), bodies(few, "k2"), bodies(few, "k3")]).toEqual([["1"], [], ["3"]]);
      const small = open({ maxBytes: 10_000, maxEntries: 100 });
      small.put("k1", "u1", response("x".repeat(4_000)));
      small.put("k2", "u2", response("x".repeat(4_000)));
      small.put("large", "u3", response("x".repeat(20_000)));
      expect(small.usage().entries).toBe(1);
      small.put("k3", "u3", response("x".repeat(8_000)));
      expect([small.find("k1").length, small.find("k2").length, small.find("k3").length]).toEqual([0, 0, 1]);
    });

    test("A hundred thousand URLs, and a URL with ten thousand variants, take no more than the bounds", () => {
      const bounds = { maxBytes: 8_000_000, maxEntries: 5_000 };
      const store = open(bounds);
      for (let i = 0; i < 100_000; i++) {
        store.put(`k${i}`, `u${i}`, response("body"));
        if (i % 10 === 0) store.put("varied", "varied", response("body", `x-request-id:${i}\n`));
      }
      const { entries, bytes } = store.usage();
      expect(entries).toBeLessThanOrEqual(bounds.maxEntries);
      expect(bytes).toBeLessThanOrEqual(bounds.maxBytes);
      expect(store.find("varied").length).toBeLessThanOrEqual(8);
      expect(bodies(store, "k99999")).toEqual(["body"]);
      store.clear();
      expect(store.usage()).toEqual({ entries: 0, bytes: 0 });
    });
  });
}
