import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutParameters, readPresentedKeys } from "../../src/callers/presented-keys.ts";

describe("presented key", () => {
  test("Every copy of a presented key is found, in every place and in every case", () => {
    const headers = ["AUTHORIZATION", "bEaReR  a", "authorization", "Bearer b", "X-API-KEY", " c ", "x-api-key", "d"];
    expect(readPresentedKeys(headers, "x=1&api_key=e&%61pi_key=f&api%5Fkey=g%20h")).toEqual({
      bearer: ["a", "b"],
      header: ["c", "d"],
      query: ["e", "f", "g h"],
      otherScheme: false,
      empty: undefined,
    });
  });

  test("An empty value is no key, in any place", () => {
    const headers = ["Authorization", "Bearer ", "authorization", "bearer \u00a0", "x-api-key", "", "x-api-key", "\t"];
    expect(readPresentedKeys(headers, "api_key=&api_key&%61pi_key=")).toEqual({
      bearer: [],
      header: [],
      query: [],
      otherScheme: true,
      empty: "authorization",
    });
  });

  test.each([
    [["Authorization", "Bearer"], undefined, "authorization"],
    [["Authorization", "token "], undefined, "authorization"],
    [["Authorization", ""], undefined, "authorization"],
    [["x-api-key", ""], "api_key=", "x-api-key"],
    [[], "a=1&api_key", "api_key"],
    [["Authorization", "Basic eDp5"], "a=1", undefined],
    [["Authorization", "Bearer x"], undefined, undefined],
  ] as const)("The first place with an empty key is known: %j, %s", (headers, query, place) => {
    expect(readPresentedKeys(headers, query).empty).toBe(place);
  });

  test("An Authorization header with another scheme is reported as such", () => {
    expect(readPresentedKeys(["Authorization", "Basic eDp5"], undefined).otherScheme).toBe(true);
  });

  test("A value with malformed percent-encoding is used as it is", () => {
    expect(readPresentedKeys([], "api_key=%zz").query).toEqual(["%zz"]);
  });
});

describe("removing a parameter", () => {
  test.each([
    ["api_key=K", undefined],
    ["a=1&api_key=K&b=2", "a=1&b=2"],
    ["api_key=K&api_key=L&b", "b"],
    ["%61pi_key=K&b=%2F+%20'", "b=%2F+%20'"],
    ["a=api_key&xapi_key=1&api_key2=2", "a=api_key&xapi_key=1&api_key2=2"],
    ["&&a=1&&", "&&a=1&&"],
    ["api_key", undefined],
    ["", ""],
  ])("Removing api_key from %s leaves %s", (query, expected) => {
    expect(cutParameters(query, ["api_key"])).toBe(expected);
  });

  test("Removing a parameter leaves the order and encoding of all others unchanged", () => {
    const parameter = fc.string({ unit: "binary-ascii" }).map((text) => text.replaceAll("&", ""));
    fc.assert(
      fc.property(fc.array(parameter), fc.nat(10), (parameters, at) => {
        const others = parameters.filter((one) => !/api_key|%/.test(one));
        const query = [...others.slice(0, at), "api_key=K", ...others.slice(at)].join("&");
        expect(cutParameters(query, ["api_key"])).toBe(others.length === 0 ? undefined : others.join("&"));
      }),
    );
  });
});
