import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLockOut, type LockOut } from "../../src/callers/lock-out.ts";

const guess = (lockOut: LockOut, address: string, times: number, now = 0) => {
  for (let i = 0; i < times; i++) lockOut.noteUnknown(address, now);
};

describe("lock-out", () => {
  test("The tenth unknown key within a minute locks the address out for a minute", () => {
    const lockOut = createLockOut();
    guess(lockOut, "192.0.2.1", 9, 1_000);
    expect(lockOut.isLocked("192.0.2.1", 1_000)).toBe(false);
    lockOut.noteUnknown("192.0.2.1", 60_999);
    expect(lockOut.isLocked("192.0.2.1", 60_999)).toBe(true);
    expect(lockOut.lockedForMs("192.0.2.1", 61_999)).toBe(59_000);
    expect(lockOut.isLocked("192.0.2.1", 120_998)).toBe(true);
    expect(lockOut.isLocked("192.0.2.1", 120_999)).toBe(false);
    expect(lockOut.lockedForMs("192.0.2.1", 120_999)).toBe(0);
    guess(lockOut, "192.0.2.1", 9, 121_000);
    expect(lockOut.isLocked("192.0.2.1", 121_000)).toBe(false);
  });

  test("Ten unknown keys in more than a minute lock nothing out, and attempts during a lock do not prolong it", () => {
    const lockOut = createLockOut();
    for (let i = 0; i < 100; i++) guess(lockOut, "192.0.2.1", 1, i * 7_000);
    expect(lockOut.isLocked("192.0.2.1", 700_000)).toBe(false);
    guess(lockOut, "192.0.2.2", 10, 0);
    guess(lockOut, "192.0.2.2", 100, 59_999);
    expect(lockOut.isLocked("192.0.2.2", 60_000)).toBe(false);
    guess(lockOut, "192.0.2.2", 9, 60_000);
    expect(lockOut.isLocked("192.0.2.2", 60_000)).toBe(false);
  });

  test("A lock covers one address in every spelling, for IPv6 the whole /64, and no other address", () => {
    const lockOut = createLockOut();
    guess(lockOut, "192.0.2.1", 10);
    expect(lockOut.isLocked("::ffff:192.0.2.1", 0)).toBe(true);
    expect(lockOut.isLocked("192.0.2.2", 0)).toBe(false);
    for (let i = 0; i < 10; i++) lockOut.noteUnknown(`2001:db8::${i}:1`, 0);
    expect(lockOut.isLocked("2001:0DB8:0:0:ffff::9", 0)).toBe(true);
    expect(lockOut.isLocked("2001:db8:0:1::1", 0)).toBe(false);
  });

  test("Guesses of web pages lock out only web pages, and guesses of programs only programs", () => {
    const lockOut = createLockOut();
    expect(lockOut.hasLocks).toBe(false);
    for (let i = 0; i < 10; i++) lockOut.noteUnknown("192.0.2.1", 0, "page");
    expect(lockOut.hasLocks).toBe(true);
    expect(lockOut.isLocked("192.0.2.1", 0, "page")).toBe(true);
    expect(lockOut.isLocked("192.0.2.1", 0)).toBe(false);
    guess(lockOut, "192.0.2.2", 10);
    expect(lockOut.isLocked("192.0.2.2", 0, "page")).toBe(false);
  });

  test("A key that worked from a locked address within the hour still works, from that address only", () => {
    const lockOut = createLockOut();
    lockOut.noteGood("192.0.2.1", "good", 0);
    guess(lockOut, "192.0.2.1", 10);
    expect(lockOut.isLocked("192.0.2.1", 0)).toBe(true);
    expect(lockOut.isExempt("192.0.2.1", "good", 0)).toBe(true);
    expect(lockOut.isExempt("192.0.2.1", "other", 0)).toBe(false);
    expect(lockOut.isExempt("192.0.2.2", "good", 0)).toBe(false);
    expect(lockOut.isExempt("192.0.2.1", "good", 3_599_999)).toBe(true);
    expect(lockOut.isExempt("192.0.2.1", "good", 3_600_000)).toBe(false);
  });

  test("A working key is remembered for exactly one hour", () => {
    const step = fc.record({ digest: fc.constantFrom("a", "b", "c"), waitMs: fc.integer({ min: 0, max: 2_500_000 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const lockOut = createLockOut();
        const lastAt = new Map<string, number>();
        let now = 0;
        for (const { digest, waitMs } of steps) {
          lockOut.noteGood("192.0.2.1", digest, now);
          lastAt.set(digest, now);
          now += waitMs;
          for (const [each, at] of lastAt) expect(lockOut.isExempt("192.0.2.1", each, now)).toBe(now - at < 3_600_000);
        }
      }),
    );
  });

  test("Addresses without number use bounded memory and do not release an existing lock", () => {
    const lockOut = createLockOut(1_000);
    guess(lockOut, "192.0.2.1", 10);
    lockOut.noteGood("192.0.2.7", "good", 0);
    const before = process.cpuUsage();
    for (let i = 0; i < 250_000; i++) {
      lockOut.noteUnknown(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, 1);
    }
    expect(lockOut.size).toBeLessThanOrEqual(2_002);
    expect(lockOut.isLocked("192.0.2.1", 2)).toBe(true);
    expect(lockOut.isLocked("192.0.2.2", 2)).toBe(false);
    expect(lockOut.isExempt("192.0.2.7", "good", 2)).toBe(true);
    // CPU time: other processes may use the machine too.
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(2_500);
  }, 30_000);

  test("At the limit the oldest locks and the least recently used keys are dropped", () => {
    const lockOut = createLockOut(3);
    for (let i = 0; i < 7; i++) guess(lockOut, `192.0.2.${i}`, 10, i);
    const locked = [0, 1, 2, 3, 4, 5, 6].filter((i) => lockOut.isLocked(`192.0.2.${i}`, 7));
    expect(locked).toEqual([3, 4, 5, 6]);
    for (let i = 0; i < 10; i++) {
      lockOut.noteGood("192.0.2.9", "always", i);
      lockOut.noteGood("192.0.2.9", `once ${i}`, i);
    }
    expect(lockOut.isExempt("192.0.2.9", "always", 10)).toBe(true);
    expect(lockOut.isExempt("192.0.2.9", "once 9", 10)).toBe(true);
    expect(lockOut.isExempt("192.0.2.9", "once 0", 10)).toBe(false);
    expect(lockOut.size).toBeLessThanOrEqual(3 * 2 * 3);
  });
});
