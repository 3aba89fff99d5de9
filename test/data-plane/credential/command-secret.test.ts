/** When the command of a secret runs, on a clock that the test sets. */
import { describe, expect, test } from "vitest";
import { type CommandOutcome, failed } from "../../../src/data-plane/credential/command-output.ts";
import { CommandSecret } from "../../../src/data-plane/credential/command-secret.ts";

const TTL_MS = 300_000;

function open(ttlMs = TTL_MS) {
  let now = 1_000;
  const runs: { isKilled: boolean; end: (outcome: CommandOutcome) => void }[] = [];
  const failures: (string | undefined)[] = [];
  const secret = new CommandSecret({
    ttlMs,
    now: () => now,
    start() {
      let end!: (outcome: CommandOutcome) => void;
      const outcome = new Promise<CommandOutcome>((resolve) => {
        end = resolve;
      });
      const run = { isKilled: false, end };
      runs.push(run);
      return {
        outcome,
        kill() {
          run.isKilled = true;
          run.end(failed("was ended"));
        },
      };
    },
    onFailure: (reason) => failures.push(reason),
  });
  return {
    secret,
    runs,
    failures,
    advance: (ms: number) => {
      now += ms;
    },
    /** Ends the run that is under way. */
    async end(text: string | { reason: string }) {
      runs.at(-1)?.end(typeof text === "string" ? { kind: "printed", text } : failed(text.reason));
      await Promise.resolve();
      await Promise.resolve();
    },
    /** Obtains the first secret. */
    async begin(text: string) {
      const first = secret.get();
      await this.end(text);
      expect(await first).toBe(text);
      return this;
    },
  };
}

describe("The time to live", () => {
  test("The command runs at the first use, and never before", async () => {
    const { secret, runs, end } = open();
    expect(secret.describe()).toMatchObject({ state: "not-run", lastRunAt: undefined });
    expect(runs).toHaveLength(0);
    const got = secret.get();
    expect(secret.describe().state).toBe("running");
    await end("one");
    expect(await got).toBe("one");
    expect(secret.describe().state).toBe("ready");
  });

  test("100 requests that need the first secret share one run", async () => {
    const { secret, runs, end } = open();
    const all = Promise.all(Array.from({ length: 100 }, () => secret.get()));
    await end("one");
    expect(new Set(await all)).toEqual(new Set(["one"]));
    expect(runs).toHaveLength(1);
  });

  test("A young secret is returned at once and runs nothing", async () => {
    const gate = await open().begin("one");
    gate.advance(TTL_MS * 0.89);
    expect(gate.secret.get()).toBe("one");
    expect(gate.runs).toHaveLength(1);
  });

  test("In the last tenth of its time a secret is renewed in the background, and requests do not wait", async () => {
    const gate = await open().begin("one");
    gate.advance(TTL_MS * 0.95);
    expect([gate.secret.get(), gate.secret.get()]).toEqual(["one", "one"]);
    expect(gate.runs).toHaveLength(2);
    await gate.end("two");
    expect(gate.secret.get()).toBe("two");
  });

  test("A secret that was not used until its time was over is not sent: the request waits for the next one", async () => {
    const gate = await open().begin("one");
    gate.advance(TTL_MS);
    const got = gate.secret.get();
    expect(got).toBeInstanceOf(Promise);
    await gate.end("two");
    expect(await got).toBe("two");
  });

  test("The time begins at the end of the run, and a slow command runs earlier the next time", async () => {
    const gate = open();
    const first = gate.secret.get();
    gate.advance(60_000);
    await gate.end("one");
    expect(await first).toBe("one");
    gate.advance(TTL_MS - 121_000);
    expect(gate.secret.get()).toBe("one");
    expect(gate.runs).toHaveLength(1);
    gate.advance(2_000);
    expect(gate.secret.get()).toBe("one");
    expect(gate.runs).toHaveLength(2);
  });
});

describe("A failing command", () => {
  test("Its last secret is used until it is ten TTLs old, without a wait", async () => {
    const gate = await open().begin("one");
    gate.advance(TTL_MS);
    const first = gate.secret.get();
    await gate.end({ reason: "exited with code 1" });
    expect(await first).toBe("one");
    expect(gate.secret.describe()).toMatchObject({ state: "failing", failure: "exited with code 1" });
    gate.advance(TTL_MS * 9 - 1);
    expect(gate.secret.get()).toBe("one");
    await gate.end({ reason: "exited with code 1" });
    gate.advance(1);
    expect(await gate.secret.get()).toBeUndefined();
    expect(gate.secret.unavailable).toBe("exited with code 1");
  });

  test("It runs after 1, 2, 4 seconds and so on, at most once in a TTL, however many requests there are", async () => {
    const gate = open(10_000);
    const starts: number[] = [];
    let now = 0;
    for (; now < 60_000; now += 100) {
      void gate.secret.get();
      if (gate.runs.length > starts.length) {
        starts.push(now);
        await gate.end({ reason: "exited with code 1" });
        expect(await gate.secret.get()).toBeUndefined();
      }
      gate.advance(100);
    }
    expect(starts).toEqual([0, 1_000, 3_000, 7_000, 15_000, 25_000, 35_000, 45_000, 55_000]);
  });

  test("A failure is reported each time, and its end once", async () => {
    const gate = open();
    void gate.secret.get();
    await gate.end({ reason: "exited with code 1" });
    gate.advance(1_000);
    void gate.secret.get();
    await gate.end("one");
    gate.advance(TTL_MS);
    void gate.secret.get();
    await gate.end("two");
    expect(gate.failures).toEqual(["exited with code 1", undefined]);
  });

  test("retry() ends the back-off, and the next failure waits a second again", async () => {
    const gate = open();
    void gate.secret.get();
    await gate.end({ reason: "exited with code 1" });
    expect(gate.secret.unavailable).toBe("exited with code 1");
    gate.secret.retry();
    expect(gate.secret.unavailable).toBeUndefined();
    void gate.secret.get();
    expect(gate.runs).toHaveLength(2);
    await gate.end({ reason: "exited with code 1" });
    gate.advance(1_000);
    void gate.secret.get();
    expect(gate.runs).toHaveLength(3);
  });
});

describe("A refused secret", () => {
  test("The command runs once, and requests that were refused meanwhile share that run", async () => {
    const gate = await open().begin("one");
    const renewals = [gate.secret.renew("one"), gate.secret.renew("one")];
    expect(gate.runs).toHaveLength(2);
    await gate.end("two");
    await Promise.all(renewals);
    expect(gate.secret.get()).toBe("two");
  });

  test("A request that was refused with an earlier secret runs nothing", async () => {
    const gate = await open().begin("one");
    void gate.secret.renew("one");
    await gate.end("two");
    await gate.secret.renew("one");
    expect(gate.runs).toHaveLength(2);
  });

  test("An upstream that refuses everything does not run the command for each request", async () => {
    const gate = await open().begin("0");
    const starts: number[] = [];
    for (let now = 0; now < TTL_MS * 2; now += 500) {
      if (gate.secret.renew(String(starts.length)) !== undefined) {
        starts.push(now);
        await gate.end(String(starts.length));
      }
      gate.advance(500);
    }
    expect(starts.slice(0, 5)).toEqual([0, 1_000, 3_000, 7_000, 15_000]);
    expect(starts.length).toBeLessThan(11);
  });

  test("A failing command does not run for a refusal during its back-off, and the old secret stays", async () => {
    const gate = await open().begin("one");
    void gate.secret.renew("one");
    await gate.end({ reason: "exited with code 1" });
    expect(gate.secret.renew("one")).toBeUndefined();
    expect(gate.secret.get()).toBe("one");
  });
});

describe("What masks know", () => {
  test("The current secret comes first, then those before it, each once", async () => {
    const gate = await open().begin("one");
    const seen: (readonly string[])[] = [];
    for (const text of ["two", "two", "three", "one"]) {
      gate.advance(TTL_MS);
      void gate.secret.get();
      await gate.end(text);
      seen.push(gate.secret.recent);
    }
    expect(seen).toEqual([
      ["two", "one"],
      ["two", "one"],
      ["three", "two", "one"],
      ["one", "three", "two"],
    ]);
  });

  test("Eight secrets are remembered, so that a long-lived process does not grow", async () => {
    const gate = await open().begin("0");
    for (let at = 1; at < 20; at++) {
      gate.advance(TTL_MS);
      void gate.secret.get();
      await gate.end(String(at));
    }
    expect(gate.secret.recent).toEqual(["19", "18", "17", "16", "15", "14", "13", "12"]);
  });
});

describe("close()", () => {
  test("The run is killed, what it still prints is discarded, and no other one starts", async () => {
    const gate = open();
    const got = gate.secret.get();
    gate.secret.close();
    expect(await got).toBeUndefined();
    expect(gate.runs.map(({ isKilled }) => isKilled)).toEqual([true]);
    expect([gate.failures, gate.secret.recent]).toEqual([[], []]);
    expect(gate.secret.get()).toBeUndefined();
    expect(gate.secret.renew("x")).toBeUndefined();
    expect(gate.runs).toHaveLength(1);
  });
});
