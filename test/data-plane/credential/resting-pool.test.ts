/** Which credentials of a pool may be used: rests, their end, and what a changed pool keeps. */
import { expect, test } from "vitest";
import {
  type CredentialProvider,
  createFixedProvider,
  NOTHING,
  type PoolMember,
} from "../../../src/data-plane/credential/credential-provider.ts";
import { RestingPool } from "../../../src/data-plane/credential/resting-pool.ts";

const injection = { ...NOTHING };
const memberOf = (sourceId: string, index: number, more: Partial<CredentialProvider> = {}): PoolMember => ({
  index,
  sourceId,
  provider: { ...createFixedProvider({ sourceId, places: [], injection }), ...more },
  credential: { source: sourceId, secrets: [] },
});

function open(members: readonly PoolMember[], earlier?: RestingPool) {
  const clock = { now: 1_000 };
  const rested: string[] = [];
  const options = {
    isRequired: true,
    restMs: 300,
    now: () => clock.now,
    onRest: ({ sourceId }: PoolMember) => rested.push(sourceId),
  };
  const pool = new RestingPool(members, options, earlier?.memory);
  return { pool, clock, rested, usable: () => pool.usable().map(({ sourceId }) => sourceId) };
}

test("A refusal during a rest begins the rest again, and is reported once", () => {
  const [a, b] = [memberOf("a", 0), memberOf("b", 1)];
  const { pool, clock, rested, usable } = open([a, b]);
  expect(pool.refused(a, injection)).toBeInstanceOf(Promise);
  clock.now += 200;
  void pool.refused(a, injection);
  clock.now += 299;
  expect([usable(), pool.changesAt]).toEqual([["b"], clock.now + 1]);
  clock.now += 1;
  expect([usable(), pool.changesAt, rested]).toEqual([["a", "b"], Number.POSITIVE_INFINITY, ["a"]]);
  expect(pool.describe(a).refusals).toBe(2);
});

test("While all rest, the one whose rest ends first is used, and a refused request is not repeated", () => {
  const [a, b] = [memberOf("a", 0), memberOf("b", 1)];
  const { pool, clock, usable } = open([a, b]);
  void pool.refused(b, injection);
  clock.now += 10;
  expect(pool.refused(a, injection)).toBeUndefined();
  expect([usable(), pool.stateOf(b)]).toEqual([["b"], "resting"]);
  void pool.refused(b, injection);
  expect(usable()).toEqual(["a"]);
});

test("The order of equal credentials is a round that continues after the last one used", () => {
  const { pool, usable } = open([memberOf("a", 0), memberOf("b", 1), memberOf("c", 2)]);
  expect([pool.choose(), pool.choose()].map(({ sourceId }) => sourceId)).toEqual(["a", "b"]);
  expect(usable()).toEqual(["c", "a", "b"]);
});

test("A changed pool keeps the rests of the credentials that stay, and the round", () => {
  const [a, b, c] = [memberOf("a", 0), memberOf("b", 1), memberOf("c", 2)];
  const { pool } = open([a, b, c]);
  pool.choose();
  void pool.refused(b, injection);
  const changed = open([memberOf("b", 0), memberOf("a", 1), memberOf("d", 2)], pool);
  expect(changed.usable()).toEqual(["d", "a"]);
  // A request that was sent with the earlier pool is refused.
  void pool.refused(a, injection);
  expect(changed.usable()).toEqual(["d"]);
});

test("A credential that is renewed after its refusal rests only until then, and rests on if nothing better comes", async () => {
  let current = injection;
  let isRenewed = true;
  const renewable = memberOf("a", 0, {
    get: () => current,
    renew: async () => {
      if (isRenewed) current = { ...NOTHING };
    },
  });
  const { pool, usable } = open([renewable]);
  await pool.refused(renewable, current);
  expect([usable(), pool.stateOf(renewable)]).toEqual([["a"], "ready"]);
  isRenewed = false;
  await pool.refused(renewable, current);
  expect(pool.stateOf(renewable)).toBe("resting");
});
