/** Tables of addresses that one network tries to fill. */
import { describe, expect, test } from "vitest";
import { createLockOut } from "../../src/callers/lock-out.ts";
import { addressKey } from "../../src/limits/address-key.ts";
import { createLimiter } from "../../src/limits/limiters.ts";

const in48 = (i: number) => `2001:db8:7:${i.toString(16)}::1`;
const in32 = (i: number) => `2001:db8:${(i >> 4).toString(16)}:${(i & 15).toString(16)}::1`;
const in24 = (i: number) => `198.51.100.${i % 256}`;

test.each([
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["64:ff9b::c000:207", "192.0.2.7"],
  ["2002:c000:207:1::1", "192.0.2.7"],
  ["2002:c000:207:ffff::1", "192.0.2.7"],
  ["2001:0:5ef5:79fb:0:59d:3fff:fdf8", "192.0.2.7"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["64:ff9b:1::c000:207", "64:ff9b:1:0::/64"],
])("The address %s is counted as %s", (address, key) => {
  expect(addressKey(address)).toBe(key);
});

describe("lock-out", () => {
  test.each([
    ["a /48", in48, 5_000],
    ["a /32", in32, 5_000],
  ] as const)(
    "Guesses from all of %s neither forget the lock nor the count of another address",
    (_, addressOf, count) => {
      const lockOut = createLockOut(2_000);
      for (let i = 0; i < 10; i++) lockOut.noteUnknown("203.0.113.1", 0);
      for (let i = 0; i < 9; i++) lockOut.noteUnknown("203.0.113.2", 0);
      for (let i = 0; i < count; i++) for (let n = 0; n < 10; n++) lockOut.noteUnknown(addressOf(i), 1);
      expect(lockOut.isLocked("203.0.113.1", 2)).toBe(true);
      lockOut.noteUnknown("203.0.113.2", 2);
      expect(lockOut.isLocked("203.0.113.2", 3)).toBe(true);
      expect(lockOut.isLocked("203.0.113.3", 3)).toBe(false);
      expect(lockOut.size).toBeLessThan(8_000);
    },
  );

  test("In a table with room, one address of a network does not lock another", () => {
    const lockOut = createLockOut(2_000);
    for (let i = 0; i < 100; i++) for (let n = 0; n < 10; n++) lockOut.noteUnknown(in24(i), 0);
    expect([lockOut.isLocked(in24(1), 1), lockOut.isLocked(in24(200), 1)]).toEqual([true, false]);
  });
});

test("Addresses of one /48 do not use up the counters of a limit by address", async () => {
  const limiter = createLimiter({ maxRequests: 2, windowMs: 60_000, per: "ip" });
  for (let i = 0; i < 50_100; i++) await limiter?.spend({ callerId: "", address: in48(i) });
  for (let i = 0; i < 20; i++) {
    const state = await limiter?.spend({ callerId: "", address: `203.0.113.${i}` });
    expect(state?.isExceeded).toBe(false);
  }
  expect(limiter?.counted.keys).toBeLessThan(30_000);
});
