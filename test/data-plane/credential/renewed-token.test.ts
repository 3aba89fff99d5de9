/** When an access token is fetched, with an injected clock. */
import { describe, expect, test } from "vitest";
import { type AccessToken, TokenFailure } from "../../../src/data-plane/credential/access-token.ts";
import { RenewedToken } from "../../../src/data-plane/credential/renewed-token.ts";

/** A token endpoint whose responses the test gives. */
function open() {
  let now = 0;
  const waiting: { resolve: (token: AccessToken) => void; reject: (error: Error) => void }[] = [];
  const failures: (string | undefined)[] = [];
  let count = 0;
  const token = new RenewedToken({
    now: () => now,
    fetchToken: () =>
      new Promise((resolve, reject) => {
        count++;
        waiting.push({ resolve, reject });
      }),
    onFailure: (failure) => failures.push(failure?.message),
  });
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  return {
    token,
    failures,
    get count() {
      return count;
    },
    pass: (seconds: number) => {
      now += seconds * 1_000;
    },
    async issue(text: string, life: number | "unknown" = 3_600) {
      const expiresIn = life === "unknown" ? undefined : life;
      waiting.shift()?.resolve({ text, expiresIn, scope: undefined, refreshToken: undefined });
      await settle();
    },
    async fail(retryAfterMs?: number) {
      waiting.shift()?.reject(new TokenFailure("responded with 500", { retryAfterMs }));
      await settle();
    },
  };
}

const textOf = async (token: ReturnType<RenewedToken["get"]>) => (await token)?.text;

describe("Renewal", () => {
  test.each([
    [3_600, 3_540],
    [100, 90],
  ])("A token that lives for %d seconds is renewed after %d, in the background", async (life, early) => {
    const { token, issue, pass, ...state } = open();
    const first = token.get();
    await issue("one", life);
    expect(await textOf(first)).toBe("one");
    pass(early - 1);
    expect(await textOf(token.get())).toBe("one");
    pass(1.5);
    for (let at = 0; at < 3; at++) expect((token.get() as { text: string }).text).toBe("one");
    await issue("two", life);
    expect((token.get() as { text: string }).text).toBe("two");
    expect(state.failures).toEqual([]);
    expect(token.recent).toEqual(["two", "one"]);
  });

  test("A token whose end is not known is used until the upstream refuses it", async () => {
    const { token, issue, pass } = open();
    token.get();
    await issue("one", "unknown");
    pass(10 * 86_400);
    expect((token.get() as { text: string }).text).toBe("one");
  });

  test("1,000 requests after it has expired get the same new token of one fetch", async () => {
    const { token, issue, pass, ...state } = open();
    token.get();
    await issue("one");
    pass(3_600);
    const waiting = Array.from({ length: 1_000 }, () => token.get());
    await issue("two", 0.001);
    pass(1);
    expect(new Set(await Promise.all(waiting.map(textOf)))).toEqual(new Set(["two"]));
    expect(state.failures).toEqual([]);
    expect(token.recent).toEqual(["two", "one"]);
  });

  test("A token is used until it expires while its renewal fails, and then there is none", async () => {
    const test = open();
    test.token.get();
    await test.issue("one", 100);
    test.pass(95);
    expect((test.token.get() as { text: string }).text).toBe("one");
    await test.fail();
    expect((test.token.get() as { text: string }).text).toBe("one");
    expect(test.token.describe()).toMatchObject({ state: "failing", failure: "responded with 500" });
    expect(test.token.unavailable).toBeUndefined();
    test.pass(5);
    const late = test.token.get();
    await test.fail();
    expect(await late).toBeUndefined();
    expect(test.token.unavailable).toBe("responded with 500");
  });
});

describe("A failing endpoint", () => {
  test("It is asked after 1, 2, 4 and at most 60 seconds, and at once after a reload", async () => {
    const test = open();
    for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
      const before = test.count;
      test.token.get();
      expect(test.count).toBe(before + 1);
      await test.fail();
      test.pass(seconds - 0.1);
      expect(await test.token.get()).toBeUndefined();
      expect(test.count).toBe(before + 1);
      test.pass(0.1);
    }
    test.token.get();
    await test.fail();
    test.token.retry();
    const retried = test.token.get();
    await test.issue("one");
    expect(await textOf(retried)).toBe("one");
    expect(test.failures.at(-1)).toBeUndefined();
  });

  test("Its Retry-After delays the next fetch", async () => {
    const test = open();
    test.token.get();
    await test.fail(30_000);
    test.pass(29);
    expect(await test.token.get()).toBeUndefined();
    expect(test.count).toBe(1);
    test.pass(1);
    void test.token.get();
    expect(test.count).toBe(2);
  });
});

describe("A refused token", () => {
  test("One fetch replaces it for all requests, and another one waits longer each time", async () => {
    const test = open();
    test.token.get();
    await test.issue("one");
    const refused = test.token.get() as never;
    const renewals = [test.token.renew(refused), test.token.renew(refused)];
    expect(test.count).toBe(2);
    await test.issue("two");
    await Promise.all(renewals);
    await test.token.renew(refused);
    expect(test.count).toBe(2);
    const second = test.token.get() as never;
    expect(test.token.renew(second)).toBeUndefined();
    test.pass(1);
    expect(test.token.renew(second)).toBeInstanceOf(Promise);
    expect(test.count).toBe(3);
  });

  test("An upstream that refuses every token causes a fetch after 1, 2, 4 and at most 60 seconds, for as long as it does", async () => {
    const test = open();
    test.token.get();
    await test.issue("token-0");
    for (const seconds of [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]) {
      test.pass(seconds - 0.1);
      const refused = test.token.get() as never;
      if (seconds > 0) expect(test.token.renew(refused)).toBeUndefined();
      test.pass(0.1);
      expect(test.token.renew(refused)).toBeInstanceOf(Promise);
      await test.issue(`token-after-${seconds}`);
    }
    test.pass(200);
    void test.token.renew(test.token.get() as never);
    await test.issue("later");
    test.pass(1);
    expect(test.token.renew(test.token.get() as never)).toBeInstanceOf(Promise);
  });

  test("No fetch starts after the end, also for an operator", async () => {
    const test = open();
    test.token.close();
    expect(await test.token.refresh()).toBe("was not asked, because the service has ended");
    expect(await test.token.get()).toBeUndefined();
    expect(test.count).toBe(0);
  });
});
