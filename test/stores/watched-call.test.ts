/** How long a request waits for a call of the shared store. */
import { stat } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { StoreUnavailable } from "../../src/stores/store-fault.ts";
import { WatchedCall } from "../../src/stores/watched-call.ts";

const replyIn = (ms: number) => new Promise((resolve) => setTimeout(() => resolve("late"), ms));

describe("A call of the shared store", () => {
  test("Is not late while this process is busy for longer than the timeout", async () => {
    const call = new WatchedCall(stat("."));
    const end = performance.now() + 400;
    while (performance.now() < end);
    expect((await call.ended).isSlow).toBe(false);
  });

  test("Is slow when its reply comes after 50 ms", async () => {
    expect(await new WatchedCall(replyIn(120)).ended).toEqual({ reply: "late", isSlow: true });
  });

  test("Fails when its reply does not come in time, and the reply is ignored", async () => {
    let fail: (error: Error) => void = () => {};
    const reply = new Promise((_, reject) => {
      fail = reject;
    });
    const call = new WatchedCall(reply, 60);
    await expect(call.ended).rejects.toMatchObject({ fault: "unresponsive" });
    fail(new Error("an error of a later time"));
    await expect(reply).rejects.toThrow("later");
  });

  test("Is abandoned when the store is degraded meanwhile", async () => {
    const call = new WatchedCall(replyIn(1_000));
    call.abandon(new StoreUnavailable("unreachable", "ECONNRESET"));
    await expect(call.ended).rejects.toMatchObject({ fault: "unreachable", code: "ECONNRESET" });
  });
});
