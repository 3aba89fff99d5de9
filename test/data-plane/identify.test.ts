import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { identify } from "../../src/data-plane/identify.ts";
import { findPathProblem } from "../../src/data-plane/path-problem.ts";

const split = (url: string) => {
  const { key, path, query } = identify(url, undefined, new Map());
  return [key, path, query];
};

describe("identify", () => {
  test.each([
    ["/proxy/github/users/octocat", ["github", "/users/octocat", undefined]],
    ["/proxy/github", ["github", "", undefined]],
    ["/proxy/github/", ["github", "/", undefined]],
    ["/proxy/github?x=1", ["github", "", "x=1"]],
    ["/proxy/github/a?x=1?y=/2", ["github", "/a", "x=1?y=/2"]],
    ["/proxy/github?", ["github", "", ""]],
    ["/proxy//a", ["", "/a", undefined]],
    ["/proxy/a%2fb/c", ["a%2fb", "/c", undefined]],
    ["/proxy/github//a//b", ["github", "//a//b", undefined]],
  ])("%s is split on its raw text", (url, expected) => {
    expect(split(url)).toEqual(expected);
  });

  test("Key, path and query joined again are the URL, byte for byte", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary-ascii" }), (rest) => {
        const [key, path, query] = split(`/proxy/${rest}`);
        expect(`/proxy/${key}${path}${query === undefined ? "" : `?${query}`}`).toBe(`/proxy/${rest}`);
      }),
    );
  });
});

describe("path", () => {
  test.each([
    "/.",
    "/..",
    "/../",
    "/a/../b",
    "/a/./b",
    "/%2e%2e/b",
    "/.%2e/b",
    "/%2E./b",
    "/..%2fb",
    "/..%2Fb",
    "/a%2f..%2fb",
    "/..\\b",
    "/a\\..\\b",
    "/a%5c..%5cb",
    "/..%5cb",
    "/..;/b",
    "/..;x=1/b",
    "/.;/b",
    "/%2e%2e%3b/b",
    "/a/%2e%2e",
    "/%00",
    "/a%0d%0ab",
    "/a%7f",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a\u0001b",
  ])("The path %j is refused", (path) => {
    expect(findPathProblem(path, "strict")).toBeDefined();
  });

  test.each([
    "",
    "/",
    "//",
    "/a//b",
    "/...",
    "/..a",
    "/a..",
    "/.well-known/x",
    "/a%2Fb",
    "/a%252e%252e/b",
    "/a;v=1/b",
    "/~a/b+c/d%20e",
    "/^[]{}|\"<>'",
    "/%e2%82%ac",
    "/%ff",
    "/a.b/c..d",
  ])("The path %j is forwarded", (path) => {
    expect(findPathProblem(path, "strict")).toBeUndefined();
  });

  test.each(["/a/../b", "/a/./b", "/a/b/%2e%2e/c", "/..a/.."])(
    "The path %j is forwarded with pathPolicy raw",
    (path) => {
      expect(findPathProblem(path, "raw")).toBeUndefined();
    },
  );

  test.each([
    "/..",
    "/a/../..",
    "/a/../../b",
    "/%2e%2e/b",
    "/./../b",
    "//..",
    "/a//../../b",
    "/..;/b",
    "/a\\..\\..\\b",
  ])("The path %j leaves the base path and is refused even with pathPolicy raw", (path) => {
    expect(findPathProblem(path, "raw")).toBeDefined();
  });

  test("A path that is forwarded never resolves outside the base, for every decoding that a server may apply once", () => {
    const piece = fc.constantFrom("/", ".", "..", "%2e", "%2f", "%5c", "\\", ";", "a", "%61", "//", "%3b");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const path = `/${pieces.join("")}`;
        if (findPathProblem(path, "strict") !== undefined) return;
        const decoded = decodeURIComponent(path)
          .replaceAll("\\", "/")
          .replace(/;[^/]*/g, "");
        expect(new URL(`http://x/base${decoded}`).pathname.startsWith("/base/")).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
