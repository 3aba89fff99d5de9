/** The contract of every kind of claims store, as one suite. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Claims, ClaimsFull, type ClaimsLimits, type KeptResponse } from "../../src/stores/claims.ts";

/** @param open a new, empty store. @param numRuns of the random order: each claim may wait for a disk. */
export function describeClaims(kind: string, open: (limits?: ClaimsLimits) => Claims, numRuns = 40): void {
  const request = (key: string, until = 1_000, owner = "a") => ({ key, owner, request: `request of ${key}`, until });
  const response = (text: string): KeptResponse => ({
    status: 201,
    reason: "Created",
    headers: { "content-type": "text/plain", link: ["<a>", "<b>"] },
    body: Buffer.from(text),
  });

  async function win(claims: Claims, key: string, until?: number, now = 0, owner?: string): Promise<number> {
    const claimed = await claims.claim(request(key, until, owner), now);
    if (claimed.state !== "won") throw new Error(`${key} is ${claimed.state}`);
    return claimed.fence;
  }

  describe(`claims, ${kind}`, () => {
    test("Of many claims of one key one is won, and the others see what is claimed and until when", async () => {
      const claims = open();
      const all = await Promise.all(Array.from({ length: 20 }, () => claims.claim(request("k"), 0)));
      expect(all.filter(({ state }) => state === "won")).toHaveLength(1);
      expect(all.filter(({ state }) => state === "pending")).toHaveLength(19);
      const pending = { state: "pending", request: "request of k", until: 1_000 };
      expect(await claims.claim({ ...request("k"), request: "other" }, 1)).toEqual(pending);
      expect(await claims.find("k", 1)).toEqual(pending);
      expect(await claims.find("other", 1)).toBeUndefined();
    });

    test("A completed claim has its response byte for byte until it ends", async () => {
      const claims = open();
      const fence = await win(claims, "k");
      const kept = { ...response(""), body: Buffer.from([0, 255, 10, 13, 128]) };
      expect(await claims.complete("k", fence, { response: kept, until: 5_000 }, 10)).toBe(true);
      const done = { state: "done", request: "request of k", until: 5_000, response: kept };
      expect(await claims.claim(request("k"), 4_999)).toEqual(done);
      expect(await claims.claim(request("k", 9_000), 5_000)).toMatchObject({ state: "won" });
    });

    test("A claim that was completed without a response stays claimed", async () => {
      const claims = open();
      await claims.complete("k", await win(claims, "k"), { response: undefined, until: 5_000 }, 1);
      expect(await claims.claim(request("k"), 2)).toMatchObject({ state: "done", response: undefined });
    });

    test("A released claim can be won at once, and its fence does nothing more", async () => {
      const claims = open();
      const first = await win(claims, "k");
      expect(await claims.release("k", first, 1)).toBe(true);
      const second = await win(claims, "k", 1_000, 1);
      expect(second).not.toBe(first);
      expect(await claims.release("k", first, 2)).toBe(false);
      expect(await claims.complete("k", first, { response: response("late"), until: 9_000 }, 2)).toBe(false);
      expect(await claims.renew("k", first, 9_000, 2)).toBe(false);
      expect(await claims.find("k", 2)).toMatchObject({ state: "pending", until: 1_000 });
    });

    test("A holder whose lease ended changes nothing, whether the key was claimed again or not", async () => {
      const claims = open();
      const late = await win(claims, "k");
      expect(await claims.complete("k", late, { response: response("late"), until: 9_000 }, 1_000)).toBe(false);
      const second = await win(claims, "k", 2_000, 1_000);
      expect(await claims.complete("k", late, { response: response("late"), until: 9_000 }, 1_001)).toBe(false);
      expect(await claims.complete("k", second, { response: response("second"), until: 9_000 }, 1_002)).toBe(true);
      expect(await claims.claim(request("k"), 1_003)).toMatchObject({ response: { body: Buffer.from("second") } });
    });

    test("A renewed lease ends later, and a completed claim cannot be renewed, released or completed again", async () => {
      const claims = open();
      const fence = await win(claims, "k");
      expect(await claims.renew("k", fence, 3_000, 999)).toBe(true);
      expect(await claims.claim(request("k"), 2_999)).toMatchObject({ state: "pending", until: 3_000 });
      await claims.complete("k", fence, { response: undefined, until: 4_000 }, 2_999);
      expect(await claims.renew("k", fence, 9_000, 3_000)).toBe(false);
      expect(await claims.release("k", fence, 3_000)).toBe(false);
      expect(await claims.complete("k", fence, { response: response("again"), until: 9_000 }, 3_000)).toBe(false);
    });

    test("A full store refuses further claims, one owner gets half of it, and claims that are over make room", async () => {
      const claims = open({ claims: 8, bytes: 1_000_000 });
      for (let i = 0; i < 4; i++) await win(claims, `a${i}`);
      await expect(claims.claim(request("a4"), 0)).rejects.toThrow(ClaimsFull);
      for (let i = 0; i < 4; i++) await win(claims, `b${i}`, 1_000, 0, "b");
      await expect(claims.claim(request("c", 1_000, "c"), 0)).rejects.toThrow(ClaimsFull);
      expect(claims.usage(0)).toMatchObject({ claims: 8, claimsLimit: 8 });
      // Claims are dropped by the minute in which they end.
      for (let i = 0; i < 4; i++) await win(claims, `a${i + 5}`, 200_000, 120_000);
      expect(claims.usage(120_000).claims).toBe(4);
    });

    test("Beyond the bytes of all responses the oldest response is dropped, and its claim stays", async () => {
      const claims = open({ claims: 10, bytes: 25_000 });
      for (const key of ["a", "b", "c"]) {
        const fence = await win(claims, key);
        await claims.complete(key, fence, { response: response("x".repeat(10_000)), until: 5_000 }, 1);
      }
      expect(await claims.claim(request("a"), 2)).toMatchObject({ state: "done", response: undefined });
      expect(await claims.claim(request("c"), 2)).toMatchObject({ response: { status: 201 } });
      expect(claims.usage(2)).toMatchObject({ claims: 3, bytesLimit: 25_000 });
      expect(claims.usage(2).bytes).toBeLessThanOrEqual(25_000);
      expect(claims.usage(120_000)).toMatchObject({ claims: 0, bytes: 0 });
    });

    test("A key has at most one holder at any time, in any order of operations", async () => {
      const step = fc.record({
        do: fc.constantFrom("claim", "renew", "complete", "release", "wait"),
        key: fc.constantFrom("a", "b", "c"),
        which: fc.nat(5),
        ms: fc.integer({ min: 1, max: 700 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
          const claims = open();
          const held: { key: string; fence: number; until: number }[] = [];
          let now = 0;
          for (const { do: what, key, which, ms } of steps) {
            const each = held.at(which % Math.max(1, held.length));
            if (what === "wait") now += ms;
            else if (what === "claim") {
              const claimed = await claims.claim(request(key, now + ms), now);
              const isHeld = held.some((other) => other.key === key && other.until > now);
              expect(claimed.state === "won").toBe(!isHeld);
              if (claimed.state === "won") held.push({ key, fence: claimed.fence, until: now + ms });
            } else if (each !== undefined) {
              const isHolder = each.until > now;
              if (what === "renew") {
                expect(await claims.renew(each.key, each.fence, now + ms, now)).toBe(isHolder);
                if (isHolder) each.until = now + ms;
              } else {
                const done = { response: undefined, until: now };
                const ended =
                  what === "release"
                    ? await claims.release(each.key, each.fence, now)
                    : await claims.complete(each.key, each.fence, done, now);
                expect(ended).toBe(isHolder);
                if (isHolder) each.until = 0;
              }
            }
          }
          await claims.close();
        }),
        { numRuns },
      );
    });
  });
}
