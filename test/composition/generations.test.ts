/** A reload cannot open to the world what a start would not have. */
import { describe, expect, test } from "vitest";
import { findExposed } from "../../src/composition/generations.ts";
import { settingsSchema } from "../../src/config/settings.ts";

const open = { key: undefined, isProtected: false, isOpen: false };
const locked = { key: undefined, isProtected: true, isOpen: false };
const settings = settingsSchema.parse({});
const world = { isLoopback: false, managementListener: undefined };
const secondOn = (isLoopback: boolean) => ({ ...world, managementListener: { host: "h", port: 1, isLoopback } });

describe("a configuration without a key", () => {
  test.each([
    ["on the world's address", open, open, world, 2],
    ["on the world's address, for callers", open, locked, world, 1],
    ["on the world's address, for operators", locked, open, world, 1],
    ["for operators on a loopback listener of their own", locked, open, secondOn(true), 0],
    ["for operators on a listener of their own that is the world's", locked, open, secondOn(false), 1],
    ["for callers, with the operators' listener on loopback", open, open, secondOn(true), 1],
    ["on loopback", open, open, { isLoopback: true, managementListener: undefined }, 0],
  ])("%s", (_, proxyPlane, managementPlane, addresses, count) => {
    expect(findExposed({ settings, proxyPlane, managementPlane }, addresses)).toHaveLength(count);
    const allowed = { ...settings, ALLOW_UNAUTHENTICATED: true };
    expect(findExposed({ settings: allowed, proxyPlane, managementPlane }, addresses)).toEqual([]);
  });
});
