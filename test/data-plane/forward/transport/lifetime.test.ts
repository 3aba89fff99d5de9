import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Lifetime } from "../../../../src/data-plane/forward/transport/lifetime.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(limits = { idleConnectionMs: 1_000, maxConnectionAgeMs: 5_000 }) {
  const expired = vi.fn();
  const lifetime = new Lifetime(limits, expired);
  lifetime.start();
  const carry = (ms: number) => {
    lifetime.pause();
    vi.advanceTimersByTime(ms);
    return lifetime.resume();
  };
  return { lifetime, expired, carry };
}

test("A connection is proven after its second request, or when it stays open for 10 ms after its first", () => {
  const { lifetime, carry } = start();
  carry(5);
  expect(lifetime.isProven).toBe(false);
  vi.advanceTimersByTime(9);
  expect(lifetime.isProven).toBe(false);
  vi.advanceTimersByTime(1);
  expect(lifetime.isProven).toBe(true);
  const second = start();
  second.carry(5);
  second.carry(5);
  expect(second.lifetime.isProven).toBe(true);
});

test("A connection expires after its idle time, counted from its last request", () => {
  const { lifetime, expired, carry } = start();
  carry(1);
  vi.advanceTimersByTime(900);
  carry(1);
  vi.advanceTimersByTime(999);
  expect(expired).not.toHaveBeenCalled();
  expect(lifetime.isExpired(performance.now())).toBe(false);
  vi.advanceTimersByTime(2);
  expect(expired).toHaveBeenCalledOnce();
  expect(lifetime.isExpired(performance.now())).toBe(true);
});

test("A connection that carries a request does not expire, and takes no other once it is too old", () => {
  const { expired, carry } = start();
  expect(carry(1)).toBe(true);
  expect(carry(60_000)).toBe(false);
  expect(expired).not.toHaveBeenCalled();
});

test("The upstream's Keep-Alive timeout shortens the idle time by a second more, and never lengthens it", () => {
  const { lifetime, expired, carry } = start({ idleConnectionMs: 60_000, maxConnectionAgeMs: 600_000 });
  lifetime.noteKeepAlive("max=100, timeout=5");
  carry(1);
  vi.advanceTimersByTime(3_990);
  expect(expired).not.toHaveBeenCalled();
  vi.advanceTimersByTime(20);
  expect(expired).toHaveBeenCalledOnce();
  const other = start({ idleConnectionMs: 1_000, maxConnectionAgeMs: 600_000 });
  other.lifetime.noteKeepAlive("timeout=600");
  other.carry(1);
  vi.advanceTimersByTime(1_001);
  expect(other.expired).toHaveBeenCalledOnce();
});

test("A retired connection takes no request after its current one", () => {
  const { lifetime, carry } = start();
  carry(1);
  expect(lifetime.retire()).toBe(true);
  const busy = start();
  busy.lifetime.pause();
  expect(busy.lifetime.retire()).toBe(false);
  expect(busy.lifetime.resume()).toBe(false);
});
