/** A reload cannot open routes that a start with the same configuration would refuse to open. */
import { describe, expect, test } from "vitest";
import { findExposed } from "../../src/composition/reload-outcome.ts";
import { settingsSchema } from "../../src/config/settings.ts";

const open = { key: undefined, isProtected: false, isOpen: false };
const locked = { key: undefined, isProtected: true, isOpen: false };
const settings = settingsSchema.parse({});
const allInterfaces = { isLoopback: false, managementListener: undefined };
const secondOn = (isLoopback: boolean) => ({
  ...allInterfaces,
  managementListener: { host: "h", port: 1, isLoopback },
});

describe("A configuration without a key", () => {
  test.each([
    ["on all interfaces", open, open, allInterfaces, 2],
    ["on all interfaces, for callers", open, locked, allInterfaces, 1],
    ["on all interfaces, for operators", locked, open, allInterfaces, 1],
    ["for operators, with their own listener on loopback", locked, open, secondOn(true), 0],
    ["for operators, with their own listener on all interfaces", locked, open, secondOn(false), 1],
    ["for callers, with the operators' listener on loopback", open, open, secondOn(true), 1],
    ["on loopback", open, open, { isLoopback: true, managementListener: undefined }, 0],
  ])("A reload reports each route that would be left open %s", (_, proxyPlane, managementPlane, addresses, count) => {
    expect(findExposed({ settings, proxyPlane, managementPlane }, addresses)).toHaveLength(count);
    const allowed = { ...settings, ALLOW_UNAUTHENTICATED: true };
    expect(findExposed({ settings: allowed, proxyPlane, managementPlane }, addresses)).toEqual([]);
  });
});
