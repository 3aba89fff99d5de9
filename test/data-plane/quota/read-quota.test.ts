/** Limits in response headers, as vendors document them, and in unusual forms. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UpstreamClock } from "../../../src/data-plane/quota/clocks.ts";
import { type ResponseHeaders, readQuota } from "../../../src/data-plane/quota/read-quota.ts";

const NOW = 1_800_000_000_000;
const S = NOW / 1_000;

const read = (headers: ResponseHeaders) => readQuota(headers, NOW);
/** Windows as `[name, limit, remaining, ms to the reset]`. */
const windows = (headers: ResponseHeaders) =>
  read(headers).windows.map(({ name, limit, remaining, resetsAt }) => [name, limit, remaining, resetsAt - NOW]);

describe("Headers", () => {
  test("The headers of GitHub are read as documented: docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api", () => {
    const headers = {
      "x-ratelimit-limit": "5000",
      "x-ratelimit-remaining": "4999",
      "x-ratelimit-used": "1",
      "x-ratelimit-reset": String(S + 3_600),
      "x-ratelimit-resource": "core",
    };
    expect(windows(headers)).toEqual([["", 5000, 4999, 3_601_000]]);
    expect(read(headers)).toMatchObject({ bucket: "core", retryAt: undefined });
    expect(read({ "retry-after": "60" }).retryAt).toBe(NOW + 61_000);
  });

  test("The headers of Discord are read as documented: docs.discord.com/developers/topics/rate-limits", () => {
    const headers = {
      "x-ratelimit-limit": "5",
      "x-ratelimit-remaining": "0",
      "x-ratelimit-reset": String(S + 1.234),
      "x-ratelimit-reset-after": "1.234",
      "x-ratelimit-bucket": "abcd1234",
    };
    expect(windows(headers)).toEqual([["", 5, 0, 1_235]]);
    expect(read(headers)).toMatchObject({ bucket: "abcd1234", scope: undefined });
    expect(read({ "retry-after": "65", "x-ratelimit-global": "true", "x-ratelimit-scope": "global" })).toMatchObject({
      scope: "global",
      retryAt: NOW + 66_000,
    });
    expect(read({ "x-ratelimit-scope": "shared", "retry-after": "2" }).scope).toBe("shared");
  });

  test("The headers of OpenAI are read as documented: platform.openai.com/docs/guides/rate-limits", () => {
    const headers = {
      "x-ratelimit-limit-requests": "60",
      "x-ratelimit-limit-tokens": "150000",
      "x-ratelimit-remaining-requests": "59",
      "x-ratelimit-remaining-tokens": "149984",
      "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-reset-tokens": "6m0s",
    };
    expect(windows(headers)).toEqual([
      ["requests", 60, 59, 1_001],
      ["tokens", 150_000, 149_984, 360_001],
    ]);
    expect(read({ "retry-after-ms": "1250", "retry-after": "2" }).retryAt).toBe(NOW + 1_251);
  });

  test("The headers of Anthropic are read as documented: docs.anthropic.com/en/api/rate-limits", () => {
    const reset = new Date(NOW + 30_000).toISOString().replace(".000", "");
    const headers = {
      "anthropic-ratelimit-requests-limit": "50",
      "anthropic-ratelimit-requests-remaining": "49",
      "anthropic-ratelimit-requests-reset": reset,
      "anthropic-ratelimit-input-tokens-limit": "40000",
      "anthropic-ratelimit-input-tokens-remaining": "39000",
      "anthropic-ratelimit-input-tokens-reset": reset,
    };
    expect(windows(headers)).toEqual([
      ["requests", 50, 49, 31_000],
      ["input-tokens", 40_000, 39_000, 31_000],
    ]);
  });

  test("The headers of GitLab are read as documented: docs.gitlab.com/administration/settings/user_and_ip_rate_limits", () => {
    expect(
      windows({
        "ratelimit-limit": "60",
        "ratelimit-name": "throttle_authenticated_web",
        "ratelimit-observed": "67",
        "ratelimit-remaining": "0",
        "ratelimit-reset": String(S + 30),
        "ratelimit-resettime": "Fri, 15 Jan 2027 08:00:30 GMT",
      }),
    ).toEqual([["", 60, 0, 31_000]]);
  });

  test("The headers of Shopify are read as documented: shopify.dev/docs/api/usage/rate-limits", () => {
    expect(windows({ "x-shopify-shop-api-call-limit": "32/40" })).toEqual([["", 40, 8, 500]]);
    expect(read({ "retry-after": "2.0" }).retryAt).toBe(NOW + 2_100);
  });

  test("Of Slack (docs.slack.dev/apis/web-api/rate-limits) and Stripe (docs.stripe.com/rate-limits), only Retry-After is read", () => {
    expect(read({ "retry-after": "30" })).toEqual({
      windows: [],
      bucket: undefined,
      scope: undefined,
      retryAt: NOW + 31_000,
    });
    expect(read({ "stripe-rate-limited-reason": "global-rate" })).toMatchObject({ windows: [], retryAt: undefined });
  });

  test("The headers of the IETF draft 11 with several policies, and those of older drafts, are read", () => {
    expect(
      windows({
        "ratelimit-policy": '"burst";q=100;w=60, "daily";q=1000;w=86400',
        ratelimit: ['"burst";r=50;t=30', '"daily";r=0;t=3600'],
      }),
    ).toEqual([
      ["burst", 100, 50, 31_000],
      ["daily", 1000, 0, 3_601_000],
    ]);
    expect(windows({ ratelimit: "limit=10, remaining=3, reset=7" })).toEqual([["", 10, 3, 8_000]]);
    expect(windows({ "ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "9", "ratelimit-reset": "5" })).toEqual(
      [["", 100, 9, 6_000]],
    );
    expect(windows({ ratelimit: '"a,b;c";r=1;t=2;pk=:cHJvamVjdA==:' })).toEqual([["a,b;c", undefined, 1, 3_000]]);
  });
});

test("A bucket name of more than 200 characters is ignored", () => {
  expect(read({ "x-ratelimit-bucket": "x".repeat(200) }).bucket).toHaveLength(200);
  expect(read({ "x-ratelimit-bucket": "x".repeat(201) }).bucket).toBeUndefined();
});

test("X-Rate-Limit with two hyphens is read, too", () => {
  const headers = { "x-rate-limit-limit": "15", "x-rate-limit-remaining": "3", "x-rate-limit-reset": "10" };
  expect(windows(headers)).toEqual([["", 15, 3, 11_000]]);
});

describe("Time", () => {
  const resetIn = (value: string, more: ResponseHeaders = {}) =>
    windows({ "x-ratelimit-remaining": "1", "x-ratelimit-reset": value, ...more })[0]?.[3];

  test.each([
    ["10", 11_000],
    ["0", 1_000],
    ["1.5", 1_600],
    ["0.123", 124],
    ["2591999", 2_592_000_000],
    [String(S + 10), 11_000],
    [`${S + 10}.25`, 10_260],
    [String(NOW + 10_000), 10_001],
    ["1m30s", 90_001],
    ["250ms", 251],
    ["1.5s", 1_501],
    ["1h0m0.5s", 3_600_501],
    ["800us", 2],
    [new Date(NOW + 9_500).toISOString(), 9_501],
    [new Date(NOW + 9_000).toUTCString(), 10_000],
  ])("A reset of %s is read as %i ms from now: one unit of its last digit later", (value, ms) => {
    expect(resetIn(value)).toBe(ms);
  });

  test("The time of a different clock is corrected by the Date of the response", () => {
    const ahead = (ms: number) => ({ date: new Date(NOW + ms).toUTCString() });
    expect(resetIn(String(S + 3_610), ahead(3_600_000))).toBe(11_000);
    expect(resetIn(String(S - 3_590), ahead(-3_600_000))).toBe(11_000);
    expect(resetIn("10", ahead(3_600_000))).toBe(11_000);
  });

  test("The time of an inaccurate clock is never read too early, and after some responses not late", () => {
    for (const offMs of [-2_300, -1_450, -600, -100, 0, 300, 900]) {
      const clock = new UpstreamClock();
      let lateMs = 0;
      for (let at = 0; at < 20_000; at += 137) {
        const theirs = NOW + at + offMs;
        const headers = {
          date: new Date(theirs).toUTCString(),
          "x-ratelimit-remaining": "1",
          "x-ratelimit-reset": new Date(theirs + 5_000).toISOString(),
        };
        lateMs = (readQuota(headers, NOW + at + 20, clock).windows[0]?.resetsAt ?? 0) - (NOW + at + 5_000);
        expect(lateMs, `${offMs} at ${at}`).toBeGreaterThanOrEqual(0);
      }
      expect(lateMs, String(offMs)).toBeLessThan(200);
    }
  });

  test("Retry-After may be a date", () => {
    expect(read({ "retry-after": new Date(NOW + 5_000).toUTCString() }).retryAt).toBe(NOW + 6_000);
  });
});

test.each([
  [{}],
  [{ "x-ratelimit-limit": "60" }],
  [{ "x-ratelimit-remaining": "5" }],
  [{ "x-ratelimit-remaining": "-1", "x-ratelimit-reset": "0" }],
  [{ "x-ratelimit-remaining": "many", "x-ratelimit-reset": "10" }],
  [{ "x-ratelimit-remaining": "5", "x-ratelimit-reset": "soon" }],
  [{ "x-ratelimit-remaining": "5", "x-ratelimit-reset": "-10" }],
  [{ "x-ratelimit-remaining": "5", "x-ratelimit-reset": "1e9" }],
  [{ ratelimit: "r=1;t=2" }],
  [{ ratelimit: '"a";r=1' }],
  [{ "x-shopify-shop-api-call-limit": "none" }],
])("Headers without a usable limit give no window: %j", (headers) => {
  expect(windows(headers)).toEqual([]);
});

test("Any header value is read without an error, and gives only finite numbers", () => {
  const name = fc.constantFrom(
    ...[
      "ratelimit",
      "ratelimit-policy",
      "x-ratelimit-limit",
      "x-ratelimit-remaining",
      "x-ratelimit-reset",
      "retry-after",
    ],
    ...[
      "x-ratelimit-remaining-tokens",
      "x-ratelimit-reset-tokens",
      "anthropic-ratelimit-a-remaining",
      "retry-after-ms",
      "date",
    ],
  );
  const value = fc.oneof(fc.string(), fc.stringMatching(/^[\d.,;="rtq smh-]{0,40}$/), fc.nat().map(String));
  fc.assert(
    fc.property(fc.dictionary(name, fc.oneof(value, fc.array(value))), (headers) => {
      const reading = read(headers as ResponseHeaders);
      for (const { remaining, resetsAt } of reading.windows) {
        expect(Number.isSafeInteger(remaining) && remaining >= 0).toBe(true);
        expect(Number.isFinite(resetsAt)).toBe(true);
      }
      expect(reading.retryAt === undefined || Number.isFinite(reading.retryAt)).toBe(true);
    }),
  );
});
