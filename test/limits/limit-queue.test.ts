/** Requests that wait for a rate limit, with its real store and a clock of the test's own. */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { RateLimit } from "../../src/config/rate-limit-schema.ts";
import type { LimitOutcome } from "../../src/limits/limit-line.ts";
import { createLimiter, type Limiter } from "../../src/limits/limiters.ts";
import { replaceLimiter } from "../../src/limits/replace-limiter.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const WINDOW_MS = 1_000;
/** A window begins this much after the end of the one before. */
const DRIFT_MS = 2;

const limit = (maxRequests: number, settings: Partial<RateLimit> = {}): RateLimit => ({
  maxRequests,
  windowMs: WINDOW_MS,
  per: "service",
  onLimit: "wait",
  ...settings,
});

interface Asked {
  readonly party: string;
  readonly index: number;
  readonly askedAt: number;
  readonly maxWaitMs: number;
  outcome: LimitOutcome | undefined;
  settledAt: number;
  leave: (() => void) | undefined;
  isOver: boolean;
}

/** Asks a limiter, and notes the order in which requests are sent. */
function client(limiter: Limiter) {
  const sent: Asked[] = [];
  const all: Asked[] = [];
  const ask = (party: string, maxWaitMs = 60_000, subject = { callerId: party, address: "127.0.0.1" }) => {
    const asked: Asked = {
      ...{ party, index: all.length, askedAt: performance.now(), maxWaitMs },
      ...{ outcome: undefined, settledAt: 0, leave: undefined, isOver: false },
    };
    all.push(asked);
    const request = { subject, party, maxWaitMs, isOver: () => asked.isOver };
    void limiter.waitingRoom?.queue
      .admit(request, (leave) => {
        asked.leave = leave;
      })
      .then((outcome) => {
        asked.outcome = outcome;
        asked.settledAt = performance.now();
        if (outcome.kind === "admitted") sent.push(asked);
      });
    return asked;
  };
  return { ask, sent, all };
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const names = (sent: readonly Asked[]) => sent.map(({ party, index }) => `${party}${index}`).join(" ");

describe("A rate limit that lets requests wait", () => {
  test("A herd that waits for the window spends exactly maxRequests in each window, and nothing between them", async () => {
    const { ask, sent } = client(createLimiter(limit(10)));
    for (let i = 0; i < 500; i++) ask(`caller-${i % 7}`);
    await settle();
    for (let window = 1; window <= 50; window++) {
      expect(sent).toHaveLength(window * 10);
      await vi.advanceTimersByTimeAsync(WINDOW_MS - 100);
      expect(sent).toHaveLength(window * 10);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(sent).toHaveLength(500);
  });

  test("Callers alternate, and the requests of one caller keep their order", async () => {
    const { ask, sent } = client(createLimiter(limit(3)));
    for (let i = 0; i < 3; i++) ask("x");
    for (let i = 0; i < 6; i++) ask("a");
    for (let i = 0; i < 3; i++) ask("b");
    await vi.advanceTimersByTimeAsync(4 * WINDOW_MS);
    expect(names(sent)).toBe("x0 x1 x2 a3 b9 a4 b10 a5 b11 a6 a7 a8");
  });

  test("A request that cannot be sent in time is refused at once, with the time at which it could be", async () => {
    const { ask } = client(createLimiter(limit(2)));
    for (let i = 0; i < 4; i++) ask("a");
    await settle();
    const late = ask("a", 1_999);
    await settle();
    expect(late.outcome).toMatchObject({ kind: "refused", reason: "too long" });
    expect(late.outcome).toMatchObject({
      state: { resetMs: 2 * WINDOW_MS + DRIFT_MS, remaining: 0, limit: 2, isExceeded: true },
    });
    const never = ask("a", 0);
    const inTime = ask("a", 2 * WINDOW_MS + DRIFT_MS);
    await settle();
    expect(never.outcome?.kind).toBe("refused");
    await vi.advanceTimersByTimeAsync(2 * WINDOW_MS + DRIFT_MS);
    expect(inTime.outcome?.kind).toBe("admitted");
  });

  test("A new request does not overtake those that wait, also at the moment in which the window begins", async () => {
    const limiter = createLimiter(limit(1));
    const { ask, sent } = client(limiter);
    ask("a");
    ask("b");
    await settle();
    // The window of the store is over, and no timer has run yet.
    vi.setSystemTime(Date.now() + WINDOW_MS);
    ask("c", 0);
    ask("d");
    await vi.advanceTimersByTimeAsync(2 * WINDOW_MS);
    expect(names(sent)).toBe("a0 b1 d3");
  });

  test("A request that others delay beyond its maximum wait is refused when the next window begins", async () => {
    const { ask } = client(createLimiter(limit(1)));
    for (let i = 0; i < 4; i++) ask("a");
    const delayed = ask("a", 4_500);
    for (let i = 0; i < 4; i++) ask("b");
    await settle();
    expect(delayed.outcome).toBeUndefined();
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect(delayed.outcome).toMatchObject({ kind: "refused", reason: "too long" });
  });

  test("A request whose client leaves gives its place to the next one at once", async () => {
    const { ask, sent } = client(createLimiter(limit(1)));
    ask("a");
    const leaving = ask("a");
    await settle();
    const behind = ask("a", 1_500);
    await settle();
    expect(behind.outcome?.kind).toBe("refused");
    leaving.leave?.();
    const next = ask("a", 1_500);
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect([leaving.outcome?.kind, next.outcome?.kind, sent.length]).toEqual(["left", "admitted", 2]);
  });

  test("A request whose client left before it could wait has no place", async () => {
    const { queue } = createLimiter(limit(1));
    const request = { subject: { callerId: "a", address: "" }, party: "a", maxWaitMs: 60_000 };
    await queue?.admit(request, () => {});
    const left = await queue?.admit(request, (leave) => leave());
    expect([left?.kind, queue?.size]).toEqual(["left", 0]);
  });

  test("A request whose key ended while it waited spends no point", async () => {
    const { ask, sent } = client(createLimiter(limit(1)));
    ask("a");
    const ended = ask("b");
    ask("c");
    await settle();
    ended.isOver = true;
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect(ended.outcome?.kind).toBe("over");
    expect(names(sent)).toBe("a0 c2");
  });

  test("In a full queue the caller with the most waiting requests makes room", async () => {
    const { ask } = client(createLimiter(limit(1, { maxQueue: 3 })));
    ask("x");
    const greedy = [ask("a"), ask("a"), ask("a")];
    await settle();
    const more = ask("a");
    const other = ask("b");
    await settle();
    expect(more.outcome).toMatchObject({ kind: "refused", reason: "queue full" });
    expect(greedy.map(({ outcome }) => outcome?.kind)).toEqual([undefined, undefined, "refused"]);
    expect(other.outcome).toBeUndefined();
  });

  test("A limit of a caller holds back only its own requests", async () => {
    const { ask, sent } = client(createLimiter(limit(1, { per: "caller" })));
    ask("a");
    ask("a");
    ask("b");
    await settle();
    expect(names(sent)).toBe("a0 b2");
  });

  test("A reset sends as many waiting requests as a window allows", async () => {
    const limiter = createLimiter(limit(2));
    const { ask, sent } = client(limiter);
    for (let i = 0; i < 6; i++) ask("a");
    await settle();
    await vi.advanceTimersByTimeAsync(500);
    limiter.reset();
    await settle();
    expect(sent).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(WINDOW_MS - 1);
    expect(sent).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toHaveLength(6);
  });

  test("At the end of the process requests are sent while they can be, and the others are refused at once", async () => {
    const limiter = createLimiter(limit(1));
    const { ask } = client(limiter);
    const asked = [ask("a"), ask("a"), ask("a")];
    await settle();
    limiter.queue?.drain(1_500, "draining");
    await settle();
    expect(asked.map(({ outcome }) => outcome?.kind)).toEqual(["admitted", undefined, "refused"]);
    expect(asked[2]?.outcome).toMatchObject({ reason: "draining" });
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect(asked[1]?.outcome?.kind).toBe("admitted");
  });

  test.each([
    ["back", -3_600_000, 2],
    ["on", 3_600_000, 1],
  ])("A request waits no longer than two windows when the clock is set %s by an hour", async (_, stepMs, windows) => {
    const { ask } = client(createLimiter(limit(1)));
    ask("a");
    const waiting = ask("a");
    await settle();
    vi.setSystemTime(Date.now() + stepMs);
    await vi.advanceTimersByTimeAsync(windows * WINDOW_MS);
    expect(waiting.outcome?.kind).toBe("admitted");
  });

  test("A store that fails refuses the waiting requests with its error", async () => {
    const { LimitQueue } = await import("../../src/limits/limit-queue.ts");
    const state = { limit: 1, remaining: 0, resetMs: 100, per: "service", policy: "", isExceeded: true } as const;
    let isBroken = false;
    const spend = async () => {
      if (isBroken) throw new Error("the store failed");
      return state;
    };
    const queued = { maxRequests: 1, windowMs: WINDOW_MS, enter: () => "", find: () => "", spend };
    const queue = new LimitQueue({ ...queued, exceeded: () => state }, 10);
    const request = { subject: { callerId: "a", address: "" }, party: "a", maxWaitMs: 60_000 };
    const waiting = expect(queue.admit(request, () => {})).rejects.toThrow("the store failed");
    await settle();
    isBroken = true;
    await vi.advanceTimersByTimeAsync(100);
    await waiting;
    expect(queue.size).toBe(0);
  });
});

describe("A changed rate limit", () => {
  const replaced = async (settings: RateLimit | undefined) => {
    const before = limit(1);
    const old = createLimiter(before);
    const { ask, sent } = client(old);
    for (let i = 0; i < 4; i++) ask(i % 2 === 0 ? "a" : "b");
    await settle();
    const next = replaceLimiter(settings, { rateLimit: before, limiter: old });
    await settle();
    return { old, next, sent };
  };

  test("Waiting requests wait for the new limit in their order", async () => {
    const { old, next, sent } = await replaced(limit(2));
    expect(names(sent)).toBe("a0 b1 a2");
    expect([old.queue?.size, next?.queue?.size]).toEqual([0, 1]);
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect(names(sent)).toBe("a0 b1 a2 b3");
  });

  test("Waiting requests are sent where the limit was removed", async () => {
    const { next, sent } = await replaced(undefined);
    expect(next).toBeUndefined();
    expect(sent).toHaveLength(4);
    expect(sent.slice(1).map(({ outcome }) => outcome)).toEqual(Array(3).fill({ kind: "admitted", state: undefined }));
  });

  test("Waiting requests keep waiting where new ones are refused from now on", async () => {
    const { next, sent } = await replaced({ maxRequests: 2, windowMs: WINDOW_MS, per: "service" });
    expect(next?.waitingRoom).toBeUndefined();
    await vi.advanceTimersByTimeAsync(WINDOW_MS);
    expect(sent).toHaveLength(4);
  });

  test("A longer maximum wait keeps the counts and the waiting requests", async () => {
    const { old, next, sent } = await replaced(limit(1, { maxWaitMs: 99_000 }));
    expect(next).toBe(old);
    expect(sent).toHaveLength(1);
    expect(next?.waitingRoom?.maxWaitMs).toBe(99_000);
  });
});

test("Any mix of callers, waits and departures keeps the limit, the order and the promised times", async () => {
  const step = fc.record({
    pauseMs: fc.constantFrom(0, 0, 0, 1, 150, 700, 1_000),
    party: fc.constantFrom("a", "a", "b", "c"),
    maxWaitMs: fc.constantFrom(0, 500, 1_500, 4_000, 60_000),
    leaves: fc.constantFrom(false, false, false, true),
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), async (maxRequests, steps) => {
      const { ask, sent, all } = client(createLimiter(limit(maxRequests)));
      for (const { pauseMs, party, maxWaitMs, leaves } of steps) {
        await vi.advanceTimersByTimeAsync(pauseMs);
        const asked = ask(party, maxWaitMs);
        await settle();
        if (leaves) asked.leave?.();
        await settle();
      }
      await vi.advanceTimersByTimeAsync(80 * WINDOW_MS);
      // Every request has one outcome.
      expect(all.filter(({ outcome }) => outcome === undefined)).toEqual([]);
      // No window of the store has more than its maximum, and none is shorter than it should be.
      let windowAt = Number.NEGATIVE_INFINITY;
      let count = 0;
      for (const { settledAt } of sent) {
        if (settledAt >= windowAt + WINDOW_MS) [windowAt, count] = [settledAt, 0];
        expect(++count).toBeLessThanOrEqual(maxRequests);
      }
      for (const { party, index, askedAt, settledAt, maxWaitMs, outcome } of all) {
        // None waits longer than its maximum.
        expect(settledAt - askedAt).toBeLessThanOrEqual(maxWaitMs + 50);
        if (outcome?.kind !== "admitted") continue;
        // Those of one caller keep their order.
        const overtaken = sent.filter(
          (other) => other.party === party && other.index > index && other.settledAt < settledAt,
        );
        expect(overtaken).toEqual([]);
        // While it waited, each other caller was served at most once more often than its own caller.
        const meanwhile = sent.filter((other) => sent.indexOf(other) < sent.findIndex((each) => each.index === index));
        const since = meanwhile.filter((other) => other.settledAt > askedAt);
        const ownBefore = since.filter((other) => other.party === party).length;
        for (const other of ["a", "b", "c"].filter((name) => name !== party)) {
          const theirs = since.filter((each) => each.party === other).length;
          expect(theirs).toBeLessThanOrEqual(ownBefore + 1);
        }
      }
    }),
    { numRuns: 60 },
  );
});
