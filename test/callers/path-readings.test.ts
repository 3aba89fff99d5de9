/** No encoding bypasses a path pattern: a path is allowed only if every reading of it is. */

import { posix, win32 } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JudgedPath } from "../../src/callers/judged-path.ts";
import { parsePathPattern } from "../../src/callers/path-pattern.ts";
import { readingsOf } from "../../src/callers/path-readings.ts";
import { compilePermissions } from "../../src/callers/permissions.ts";

const allows = (path: string, ...patterns: string[]) =>
  compilePermissions(patterns.map((pattern) => `x:*:${pattern}`)).allowsProxy("x", "GET", new JudgedPath(path));

const patternOf = (text: string) => {
  const pattern = parsePathPattern(text);
  if ("problem" in pattern) throw new Error(pattern.problem);
  return pattern;
};

describe("path pattern", () => {
  test.each<[string, string[], string[]]>([
    ["/a", ["/a"], ["", "/", "/a/", "/A", "/ab", "/a/b", "/b/a"]],
    ["/a/", ["/a/"], ["/a", "/a/b"]],
    ["/", ["", "/"], ["/a"]],
    ["/*", ["/a", "/a.b", "/.a", "/*"], ["", "/", "/a/", "/a/b"]],
    ["/**", ["", "/", "/a", "/a/b/c/"], []],
    ["/a/**", ["/a", "/a/", "/a/b", "/a/b/c", "/a/b/"], ["/ab", "/A/b", "/b/a", "/"]],
    ["/a/*", ["/a/b"], ["/a", "/a/", "/a/b/", "/a/b/c"]],
    ["/a/*/c", ["/a/b/c"], ["/a//c", "/a/c", "/a/b/b/c"]],
    ["/a/**/c", ["/a/c", "/a/b/c", "/a/b/b/c", "/a/c/c"], ["/a/b", "/a/c/b", "/ac"]],
    ["/**/c", ["/c", "/a/b/c"], ["/a", "/c/"]],
    ["/**/a/**/b", ["/a/b", "/x/a/y/b", "/a/b/a/b"], ["/b/a", "/a"]],
    ["/a*", ["/a", "/ab", "/a*"], ["/ba", "/a/b"]],
    ["/*.json", ["/a.json", "/.json"], ["/a.jsonx", "/a/b.json"]],
    ["/a*b*c", ["/abc", "/axbxc", "/abbcc"], ["/acb", "/ab", "/abcd"]],
    ["/ab*ba", ["/abba", "/abxba"], ["/aba"]],
    ["/v1/users:list", ["/v1/users:list"], ["/v1/users"]],
    ["/x%2Ay", ["/x*y", "/x%2ay"], ["/xzy"]],
    ["/é", ["/%C3%A9", "/%c3%a9"], ["/e", "/%E9"]],
    ["/a%20b", ["/a%20b"], ["/a+b", "/ab"]],
  ])("The pattern %s matches %j and not %j", (pattern, matched, unmatched) => {
    expect(matched.filter((path) => !allows(path, pattern))).toEqual([]);
    expect(unmatched.filter((path) => allows(path, pattern))).toEqual([]);
  });

  test("A pattern matches as a simple matcher does, and covers only patterns with paths that it matches", () => {
    const segment = fc.constantFrom(
      "",
      "a",
      "b",
      "aa",
      "ab",
      "ba",
      "aba",
      "*",
      "**",
      "a*",
      "*a",
      "a*b",
      "*a*",
      "*a*b*",
    );
    const pattern = fc
      .array(segment, { minLength: 1, maxLength: 5 })
      .filter((parts) => parts.indexOf("") === -1 || parts.indexOf("") === parts.length - 1);
    const path = fc.array(fc.constantFrom("", "a", "b", "aa", "ab", "ba", "aba", "abab"), {
      minLength: 1,
      maxLength: 6,
    });
    const work = () => ({ left: 10_000 });
    fc.assert(
      fc.property(pattern, pattern, fc.array(path, { minLength: 30 }), (one, two, paths) => {
        const first = patternOf(`/${one.join("/")}`);
        const second = patternOf(`/${two.join("/")}`);
        for (const each of paths) {
          expect(first.matches(each, work())).toBe(slowlyMatches(one, each));
          if (first.covers(second, work()) && second.matches(each, work()))
            expect(first.matches(each, work())).toBe(true);
        }
        expect(first.covers(first, work())).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  test("A pattern with many stars is matched quickly on a path of any length", () => {
    const hostile: [string, string][] = [
      [`/${"**/a/".repeat(35)}b`, "/a".repeat(8_000)],
      [`/**/${"a/".repeat(80)}b`, "/a".repeat(8_000)],
      [`/${"*a".repeat(80)}b`, `/${"a".repeat(16_000)}`],
    ];
    for (const [pattern, path] of hostile) {
      const startedAt = performance.now();
      expect(allows(path, pattern)).toBe(false);
      expect(performance.now() - startedAt).toBeLessThan(250);
    }
  });
});

describe("pattern /public/**", () => {
  test.each([
    "/public",
    "/public/",
    "/public/a",
    "/public/a/b.c",
    "/public/%61",
    "/%70ublic/a",
    "/%70%75%62%6c%69%63",
    "/public/a%20b",
    "/public/a%2Fb",
    "/public/a%2fb",
    "/public/a%252Fb",
    "/public/100%25",
    "/public/%25zz",
    "/public/%E2%82%AC",
    "/public/%F0%9F%92%A9",
    "/public//a",
    "/public/a//b",
    "/public/a;v=1",
    "/public/a;v=1/b",
    "/public/a%3Bb",
    "/public/a\\b",
    "/public/a%5Cb",
    "/public/./a",
    "/public/a/../b",
    "/public/a/%2e%2e/b",
    "/public/a/..%2fb",
    "/public/.well-known/a",
    "/public/a..b",
    "/public/..a",
    "/public/what%3F",
    "/public/a%23b",
    "/public/*",
    "/public/**",
  ])("The path %s is allowed", (path) => {
    expect(allows(path, "/public/**")).toBe(true);
  });

  test.each([
    "",
    "/",
    "/admin",
    "/publicity",
    "/PUBLIC/a",
    "/%50ublic/a",
    "/public%2fa",
    "/public%2Fa",
    "/public%252fa",
    "/public%5ca",
    "/public\\a",
    "/public;v=1/a",
    "/public%3b/a",
    "/public%3fa",
    "/public%23/a",
    "/public%20/a",
    "/public./a",
    "/public/..",
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2e/admin",
    "/public/.%2e/admin",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public%2f..%2fadmin",
    "/public/%2e%2e%2fadmin",
    "/public/%252e%252e/admin",
    "/public/%252e%252e%252fadmin",
    "/public/%25252e%25252e/admin",
    "/public/%2525252e%2525252e/admin",
    "/public/..%5cadmin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/%5c../admin",
    "/public/..%255cadmin",
    "/public/..;/admin",
    "/public/..;a=b/admin",
    "/public/..%3b/admin",
    "/public/..%253b/admin",
    "/public/a/..;/..;/admin",
    "/public/;/../admin",
    "/public/a//../../admin",
    "/public//../admin",
    "/public/%2f../admin",
    "/public/./../admin",
    "/public/.;/../admin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%c0%af../admin",
    "/public/..%c0%af..%c0%afadmin",
    "/public/%e0%80%af",
    "/public/%25c0%25ae%25c0%25ae/admin",
    "/public/%ff",
    "/public/%E9",
    "/public/%ed%a0%80",
    "/public/%",
    "/public/%2",
    "/public/%zz",
    "/public/%u002e%u002e/admin",
    "/public/a%00/../admin",
    "/public/a%00",
    "/public/a%2500",
    "/public/a%0d%0a",
    "/public/a%7f",
    "/public/a\u0000",
    "/public/a b",
    "/public/..%20/admin",
    "/public/.. /admin",
    "/public/..%20.%20/admin",
    "/public/.../admin",
    "/public/%EF%BC%8E%EF%BC%8E/admin",
    "/public/%E2%80%A5/admin",
    "/public/..%EF%BC%8Fadmin",
    "/public/..%EF%BC%BCadmin",
    "/public/%ef%bc%852e%ef%bc%852e/admin",
    "//public/admin",
    "//public/public",
    "/\\public/admin",
    "/%2fpublic/admin",
    "//public/a",
    "/../public/a",
    "/a/../../public/a",
    "/a/../public/a",
    "/%2e%2e/public/a",
    "public/a",
    "*",
    "http://x/public/a",
    "/public/é\u0100",
    "/public/\u0100",
  ])("The path %j is refused", (path) => {
    expect(allows(path, "/public/**")).toBe(false);
  });

  test("No path is allowed that any server reads as a path outside the pattern", () => {
    const pieces = [
      ...["/", "/", "/", "public", "public", "admin", "..", ".", "a", ";", ";x=1", "\\", "%", "25", "2f", "2e", "5c"],
      ...[
        "%2f",
        "%2F",
        "%5c",
        "%2e",
        "%2E%2e",
        "%252e",
        "%252f",
        "%25252f",
        "%255c",
        "%3b",
        "%3f",
        "%23",
        "%20",
        "%00",
      ],
      ...["%c0%af", "%c0%ae", "%EF%BC%8F", "%E2%80%A5", "%61", "%70ublic", "//", "/..", "/../", "?", "#", "%253b"],
    ];
    const path = fc
      .tuple(
        fc.constantFrom("/", "/public/", "/public/", "//"),
        fc.array(fc.constantFrom(...pieces), { maxLength: 10 }),
      )
      .map(([head, tail]) => head + tail.join(""));
    const plans = fc.array(fc.array(fc.nat(READERS.length - 1), { maxLength: 7 }), { minLength: 25, maxLength: 25 });
    let allowed = 0;
    fc.assert(
      fc.property(path, plans, (text, orders) => {
        if (!allows(text, "/public/**")) return;
        allowed++;
        for (const order of orders) {
          // Every server decodes at some point.
          let read = text;
          for (const step of [...order, 0]) read = READERS[step]?.(read) ?? read;
          expect(isBelowPublic(read), `${text} read as ${read} by ${order}`).toBe(true);
        }
      }),
      { numRuns: 6_000 },
    );
    expect(allowed).toBeGreaterThan(100);
  });
});

describe("path with several readings", () => {
  test("A path with several readings is allowed if each reading is, by one permission or by several", () => {
    expect(allows("/projects/acme%2Fsite/issues", "/projects/acme/site/**")).toBe(false);
    expect(allows("/projects/acme%2Fsite/issues", "/projects/acme%2Fsite/**")).toBe(false);
    expect(allows("/projects/acme%2Fsite/issues", "/projects/acme/site/**", "/projects/acme%2Fsite/**")).toBe(true);
    expect(allows("/projects/*/issues", "/projects/*/issues")).toBe(true);
    expect(allows("/projects/a%2Fb/issues", "/projects/*/issues")).toBe(false);
    expect(allows("/a%3Fb", "/a")).toBe(false);
    expect(allows("/a;b", "/a*")).toBe(true);
    expect(allows("//x/y", "/**/x/*")).toBe(false);
    for (const path of ["///x/y", "////x/y", "/\\/x/y", "//%2fx/y"]) expect(allows(path, "/**/x/*"), path).toBe(false);
    expect(allows("/a/b/..", "/a", "/a/", "/a/b/*")).toBe(true);
    expect(allows("/a/b/..", "/a", "/a/b/*")).toBe(false);
    expect(allows("/a/b/..", "/a/", "/a/b/*")).toBe(false);
  });

  test("A path that all servers read alike has one reading, and segments are compared exactly", () => {
    expect(readingsOf("/repos/acme/x")).toEqual([["repos", "acme", "x"]]);
    expect(readingsOf("/a%20b/")).toEqual([["a b", ""]]);
    expect(readingsOf("/a%2Fb")).toEqual([["a\u0000b"], ["a", "b"]]);
  });

  test("A path with too many readings is refused", () => {
    expect(allows(`/public/%25${"25".repeat(10)}41`, "/public/**")).toBe(true);
    expect(allows(`/public/%25${"25".repeat(100)}41`, "/public/**")).toBe(false);
  });

  test("The readings of a path take too little time to attack the gateway with", () => {
    const steps = ["%2f", ";a", "//", "\\", "%3f", "%252f", "/./", "%E2%80%A5", "%25"];
    for (const step of steps.flatMap((one) => steps.map((two) => one + two))) {
      const path = `/public/${`${step}a`.repeat(Math.ceil(16_000 / (step.length + 1)))}`;
      const startedAt = performance.now();
      allows(path, "/public/**", "/**/x");
      expect(performance.now() - startedAt, step).toBeLessThan(250);
    }
  });
});

/** Steps of servers and libraries; each may be applied at any time and any number of times. */
const READERS: readonly ((text: string) => string)[] = [
  (text) => text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
  (text) => posix.normalize(text),
  (text) => win32.normalize(text).replaceAll("\\", "/"),
  (text) => text.replaceAll("\\", "/"),
  (text) => text.replace(/\/+/g, "/"),
  (text) =>
    text
      .split("/")
      .map((segment) => segment.split(";", 1)[0])
      .join("/"),
  (text) => new URL(`http://host${text.startsWith("/") ? text : `/${text}`}`).pathname,
  (text) => (URL.canParse(text, "http://host") ? new URL(text, "http://host").pathname : text),
  (text) => text.split(/[?#]/, 1)[0] as string,
  (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  },
];

function isBelowPublic(read: string): boolean {
  const path = posix.normalize(read.replaceAll("\\", "/"));
  return path === "/public" || path.startsWith("/public/");
}

function slowlyMatches(pattern: readonly string[], path: readonly string[]): boolean {
  const [token, ...rest] = pattern;
  if (token === undefined) return path.length === 0;
  if (token === "**") return path.some((_, at) => slowlyMatches(rest, path.slice(at))) || slowlyMatches(rest, []);
  const [segment, ...others] = path;
  if (segment === undefined || (token === "*" && segment === "")) return false;
  return slowlyMatchesText(token, segment) && slowlyMatches(rest, others);
}

function slowlyMatchesText(token: string, text: string): boolean {
  if (token === "") return text === "";
  if (token[0] !== "*") return text[0] === token[0] && slowlyMatchesText(token.slice(1), text.slice(1));
  return [...text, ""].some((_, at) => slowlyMatchesText(token.slice(1), text.slice(at)));
}
