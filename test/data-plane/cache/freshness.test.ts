/** Cache-Control, dates and freshness, as RFC 9111 defines them. */
import { expect, test } from "vitest";
import { fieldsNamedBy, readCacheControl, readSeconds } from "../../../src/data-plane/cache/cache-control.ts";
import { initialAgeMs, readFreshness } from "../../../src/data-plane/cache/freshness.ts";
import { readHttpDate } from "../../../src/data-plane/cache/http-date.ts";

const NOW = Date.UTC(2026, 10, 29, 12);

test.each([
  ["max-age=60", { "max-age": "60" }],
  ['No-Store, Max-Age="60"', { "no-store": true, "max-age": "60" }],
  ['ext="a, no-store", max-age=1', { ext: "a, no-store", "max-age": "1" }],
  ['ext="a\\", no-store", max-age=1', { ext: 'a", no-store', "max-age": "1" }],
  ["max-age=60, max-age=1", { "max-age": "1" }],
  ["max-age=1, max-age=60", { "max-age": "1" }],
  ["max-age=x, max-age=60", { "max-age": "x" }],
  ["max-age =60, max-age= 60", {}],
  ['no-cache="a", no-cache="b"', { "no-cache": "a,b" }],
  ['no-cache="a", no-cache', { "no-cache": true }],
  [", ,max-age=5,,", { "max-age": "5" }],
  ["__proto__=1, constructor", { ["__proto__"]: "1", constructor: true }],
])("Cache-Control %j has the directives %j", (value, expected) => {
  expect([...readCacheControl(value)]).toEqual([...Object.entries(expected)]);
});

test("Delta-seconds are digits only, up to 2^31", () => {
  expect(["0", "003", "99999999999", "-1", "1.0", "1a", "", true].map((value) => readSeconds(value as string))).toEqual(
    [...[0, 3, 2_147_483_648], ...[undefined, undefined, undefined, undefined, undefined]],
  );
  expect(fieldsNamedBy(readCacheControl('private="A, b"'), "private")).toEqual(["a", "b"]);
});

test.each([
  ["Sun, 06 Nov 1994 08:49:37 GMT", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Sunday, 06-Nov-94 08:49:37 GMT", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Sunday, 06-Nov-70 08:49:37 GMT", Date.UTC(2070, 10, 6, 8, 49, 37)],
  ["Sun Nov  6 08:49:37 1994", Date.UTC(1994, 10, 6, 8, 49, 37)],
  ["Sun, 31 Nov 2026 08:49:37 GMT", Number.NaN],
  ["Sun, 06 Nov 1994 08:49:37 UTC", Number.NaN],
  ["Sun, 06 Nov 1994 24:00:00 GMT", Number.NaN],
  ["0", Number.NaN],
  ["2099", Number.NaN],
])("The date %j is %d", (text, expected) => {
  expect(readHttpDate(text, NOW)).toBe(expected);
});

test.each([
  [{ "cache-control": "max-age=60, s-maxage=5" }, 60_000, 5_000],
  [{ "cache-control": "max-age=60", expires: "Sun, 06 Nov 1994 08:49:37 GMT" }, 60_000, 60_000],
  [{ date: new Date(NOW).toUTCString(), expires: new Date(NOW + 9_000).toUTCString() }, 9_000, 9_000],
  [{ expires: "0" }, 0, 0],
  [{ "cache-control": "max-age=x" }, 0, 0],
  [{ "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT" }, undefined, undefined],
])("The response %j is fresh for %s ms in a private cache and %s ms in a shared one", (headers, own, shared) => {
  expect(readFreshness(headers, false, NOW).lifetimeMs).toBe(own);
  expect(readFreshness(headers, true, NOW).lifetimeMs).toBe(shared);
});

test.each([
  [{}, 500],
  [{ age: "30" }, 30_500],
  [{ age: "30, 5" }, 30_500],
  [{ age: ["30", "5"] }, Number.POSITIVE_INFINITY],
  [{ age: "-1" }, Number.POSITIVE_INFINITY],
  [{ date: new Date(NOW - 90_000).toUTCString(), age: "30" }, 90_000],
  [{ date: new Date(NOW + 90_000).toUTCString() }, 500],
])("A response with %j arrives %d ms old", (headers, expected) => {
  expect(initialAgeMs(headers, 500, NOW)).toBe(expected);
});
