/** The memory of delivered signatures, with a clock of the test. */
import { describe, expect, test } from "vitest";
import { ReplayMemory } from "../../../src/data-plane/signature/replay-memory.ts";

describe("The replay memory", () => {
  test("remembers a signature for as long as its time is accepted, and then drops it", () => {
    const memory = new ReplayMemory();
    expect(memory.remember("a", 1_000, 700)).toBe("new");
    expect(memory.remember("a", 1_000, 1_000)).toBe("repeated");
    expect(memory.remember("b", 1_100, 1_100)).toBe("new");
    expect(memory.size).toBe(1);
  });

  test("refuses a time that it has dropped, even if the clock is set back", () => {
    const memory = new ReplayMemory();
    memory.remember("a", 1_000, 700);
    memory.remember("b", 5_000, 4_700);
    expect(memory.remember("a", 1_000, 700)).toBe("stale");
  });

  test("accepts a signature again whose delivery failed", () => {
    const memory = new ReplayMemory();
    memory.remember("a", 1_000, 700);
    memory.forget("a", 1_000);
    memory.forget("a", 1_000);
    expect(memory.size).toBe(0);
    expect(memory.remember("a", 1_000, 700)).toBe("new");
  });

  test("refuses new signatures while it is full, and forgets none", () => {
    const memory = new ReplayMemory(2);
    memory.remember("a", 1_000, 700);
    memory.remember("b", 1_000, 700);
    expect(memory.remember("c", 1_000, 700)).toBe("full");
    expect(memory.remember("a", 1_000, 700)).toBe("repeated");
    expect(memory.remember("c", 2_000, 1_700)).toBe("new");
  });
});
