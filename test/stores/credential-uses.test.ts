/** How much is kept about the use of credentials. */
import { expect, test } from "vitest";
import { createCredentialUses } from "../../src/stores/credential-uses.ts";

test("A service whose secret changes each hour keeps its last eight, and another service all of its own", () => {
  const uses = createCredentialUses([["old:a", { since: 1, seenAt: 1 }]]);
  uses.set("api:kept", { since: 1, seenAt: 10_000 });
  for (let hour = 1; hour <= 1_000; hour++) uses.set(`api:${hour}`, { since: hour, seenAt: hour });
  const kept = [...uses.entries()].map(([id]) => id);
  expect(kept.sort()).toEqual([
    "api:1000",
    "api:994",
    "api:995",
    "api:996",
    "api:997",
    "api:998",
    "api:999",
    "api:kept",
    "old:a",
  ]);
});

test("Of services that come and go, those of the last 10,000 credentials are kept", () => {
  const stored = Array.from({ length: 9_999 }, (_, at) => [`s${at}:a`, { since: 1, seenAt: at }] as const);
  const uses = createCredentialUses(stored);
  for (let at = 9_999; at < 10_020; at++) uses.set(`s${at}:a`, { since: 1, seenAt: at });
  expect([...uses.entries()]).toHaveLength(10_000);
  expect([uses.of("s19:a"), uses.of("s20:a")]).toEqual([undefined, { since: 1, seenAt: 20 }]);
});
