/** Which credential of a pool a request would be sent with, and why. Nothing is chosen by it. */
import { describePool } from "../../config/pooled-state.ts";
import { plural } from "../../plural.ts";
import type { PoolMember } from "../credential/credential-provider.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { ExplainedPool } from "./explanation.ts";

interface Decided {
  readonly waitMs: number;
  readonly member?: PoolMember;
}

/** @param held in `hold` mode: what the quota decided, or undefined where it refuses. @returns undefined for a single credential. */
export function explainPool(
  { prepared, path }: Pick<Route, "prepared" | "path">,
  { method, voter }: Pick<Exchange, "method" | "voter">,
  held: Decided | undefined,
): ExplainedPool | undefined {
  const { credential, quota } = prepared;
  const { pool } = credential;
  if (pool === undefined) return undefined;
  const asking = { method, path, pinned: undefined, voter };
  const leftOf = (member: PoolMember) => quota?.leftOf(member, asking) ?? Number.POSITIVE_INFINITY;
  const chosen = quota?.isHolding ? held?.member : (quota?.peek(pool, asking) ?? pool.usable(voter)[0]);
  const of = (describePool(credential.describe?.().of) ?? []).map((entry, index) => {
    const member = pool.members.find((each) => each.index === index);
    const left = member === undefined ? Number.POSITIVE_INFINITY : leftOf(member);
    return { ...entry, left: Number.isFinite(left) ? left : null };
  });
  const reason = chosen === undefined ? NONE : reasonFor(chosen, leftOf(chosen), held?.waitMs ?? 0);
  const isResting = chosen !== undefined && pool.stateOf(chosen, voter) === "resting";
  return { chosen: chosen?.index ?? null, reason: isResting ? ALL_REST : reason, of };
}

const NONE = "no credential has quota left in time";
const ALL_REST = "all credentials rest after a 401, and the rest of this one ends first";

function reasonFor({ index }: PoolMember, left: number, waitMs: number): string {
  if (waitMs > 0) return `no credential has quota left now, and of[${index}] is expected to have some first`;
  if (!Number.isFinite(left)) return "its quota is not known, which counts as the most; equal ones are used in turn";
  return `it has the most quota left: ${plural(left, "request")}; equal ones are used in turn`;
}
