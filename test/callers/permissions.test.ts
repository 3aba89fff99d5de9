import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JudgedPath } from "../../src/callers/judged-path.ts";
import {
  compilePermissions,
  type ManagePart,
  parsePermission,
  requiredFor,
  uncoveredBy,
} from "../../src/callers/permissions.ts";

const METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"];
const WRITES = ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"];

describe("permission", () => {
  test.each([
    ["github:read", ["GET", "HEAD", "OPTIONS"]],
    ["github:write", WRITES],
    ["github:*", METHODS],
    ["github:GET", ["GET"]],
    ["github:PROPFIND", ["PROPFIND"]],
  ])("The permission %s allows %j on any path of its service and of no other", (text, allowed) => {
    const permissions = compilePermissions([text]);
    for (const path of ["", "/", "/a/b", "/a%2Fb", "/../x", "/%zz", "/a;b\\c"]) {
      expect(METHODS.filter((method) => permissions.allowsProxy("github", method, new JudgedPath(path)))).toEqual(
        allowed,
      );
    }
    expect(METHODS.some((method) => permissions.allowsProxy("gitlab", method, new JudgedPath("/")))).toBe(false);
  });

  test("A permission for every service does not open the management plane, and one for that plane opens no service", () => {
    const every = compilePermissions(["*:*"]);
    expect(every.allowsProxy("anything", "DELETE", new JudgedPath("/x"))).toBe(true);
    expect((["read", "services", "keys"] as const).some((part) => every.allowsManage(part))).toBe(false);
    expect(every).toMatchObject({ hasProxy: true, hasManage: false });
    const manage = compilePermissions(["manage:*"]);
    expect(manage.allowsProxy("manage", "GET", new JudgedPath("/"))).toBe(false);
    expect(manage).toMatchObject({ hasProxy: false, hasManage: true });
  });

  test.each<[string, ManagePart[]]>([
    ["manage:read", ["read"]],
    ["manage:services", ["services"]],
    ["manage:keys", ["keys"]],
    ["manage:*", ["read", "services", "keys"]],
  ])("The permission %s opens %j", (text, parts) => {
    const permissions = compilePermissions([text]);
    expect((["read", "services", "keys"] as const).filter((part) => permissions.allowsManage(part))).toEqual(parts);
  });

  test.each([
    ["", /"" is not of the form `<service\|\*>:<action>\[:<path pattern>\]`/],
    ["*", /"\*" is not of the form/],
    ["github", /is not of the form/],
    [":read", /"" is not the key of a service/],
    ["GitHub:read", /"GitHub" is not the key of a service; allowed are a key such as `github`, `\*` and `manage`/],
    ["git*:read", /is not the key of a service/],
    ["services:read", /"services" is not the key of a service/],
    ["constructor:read", /is not the key of a service/],
    ["__proto__:read", /is not the key of a service/],
    ["github:", /"" is not an action; allowed are `read`, `write`, `\*`, `WEBSOCKET` and a method such as `GET`/],
    ["github:get", /"get" is not an action/],
    ["github:GTE", /"GTE" is not an action/],
    ["github:CONNECT", /is not an action/],
    ["github:TRACE", /is not an action/],
    ["github: read", /is not an action/],
    ["github:GET:", /the path pattern "" does not begin with `\/`/],
    ["github:GET:repos", /"repos" does not begin with/],
    ["github:GET:*", /"\*" does not begin with/],
    ["github:GET:/a**", /`\*\*` that is not alone between slashes/],
    ["github:GET:/***", /not alone between slashes/],
    ["github:GET:/a//b", /an empty segment/],
    ["github:GET:/a/../b", /a dot segment/],
    ["github:GET:/a/%2e%2e/b", /a dot segment/],
    ["github:GET:/./b", /a dot segment/],
    ["github:GET:/a/...", /a dot segment/],
    ["github:GET:/a?b=c", /`\?` or `#`; a permission is about the path only/],
    ["github:GET:/a#b", /`\?` or `#`/],
    ["github:GET:/a%3Fb", /encoded or not; use `\*` for it/],
    ["github:GET:/a;b", /use `\*` for it/],
    ["github:GET:/a%3bb", /use `\*` for it/],
    ["github:GET:/a\\b", /use `\*` for it/],
    ["github:GET:/a%5Cb", /use `\*` for it/],
    ["github:GET:/a%", /malformed percent-encoding; a percent sign is `%25`/],
    ["github:GET:/a%zz", /malformed percent-encoding/],
    ["github:GET:/a b", /white space or a control character; a space is `%20`/],
    ["github:GET:/a\n", /white space or a control character/],
    ["github:GET:/a\u0000b", /white space or a control character/],
    ["github:GET:/a%00b", /white space or a control character/],
    ["github:GET:/a%01b", /white space or a control character/],
    ["github:GET:/%ff", /not UTF-8/],
    ["github:GET:/%c0%ae", /not UTF-8/],
    [
      "manage:write",
      /"manage:write" is not a part of the management plane; allowed are `manage:read`, `manage:services`/,
    ],
    ["manage:GET", /not a part of the management plane/],
    ["manage:read:/x", /a permission for `manage` takes none/],
    [`github:GET:/${"a".repeat(200)}`, /at most 200 characters, this one has 212/],
  ])("The permission %j is refused with a clear message and grants nothing", (text, words) => {
    expect(parsePermission(text)).toEqual({ problem: expect.stringMatching(words) });
    const permissions = compilePermissions([text]);
    expect(permissions).toMatchObject({ hasProxy: false, hasManage: false, granted: [] });
    expect(permissions.allowsProxy("github", "GET", new JudgedPath("/a"))).toBe(false);
  });

  test("A long text is not shown, because it may be a key", () => {
    const key = "k".repeat(150);
    expect(JSON.stringify(parsePermission(key))).not.toContain("kkk");
    expect(JSON.stringify(parsePermission(`${key}:read`))).not.toContain("kkk");
  });

  test("Parsing permissions never throws, for any texts", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string(),
            fc.string().map((s) => `a:read:/${s}`),
          ),
        ),
        (texts) => {
          const permissions = compilePermissions(texts);
          permissions.allowsProxy("a", "GET", new JudgedPath("/x%2f.."));
          expect(uncoveredBy(compilePermissions(["*:*", "manage:*"]), texts)).toEqual(
            texts.filter((text) => "problem" in parsePermission(text)),
          );
        },
      ),
    );
  });
});

describe("permission that a refusal requires", () => {
  test.each([
    ["GET", "/repos/acme/x", "github:GET:/repos/acme/x"],
    ["POST", "", "github:POST:/"],
    ["GET", "/a*b", "github:GET:/a%2Ab"],
    ["GET", "/a%20b", "github:GET:/a%20b"],
    ["GET", "/a%2Fb", "github:GET"],
    ["GET", "/a;b", "github:GET"],
    ["GET", "/a/../b", "github:GET"],
    ["GET", "/%zz", "github:GET"],
    ["DELETE", `/${"a".repeat(300)}`, "github:DELETE"],
    ["UNHEARD-OF", "/a", "github:write:/a"],
  ])("The required permission for %s %s is %s", (method, path, required) => {
    expect(requiredFor("github", method, new JudgedPath(path))).toBe(required);
  });

  test("The required permission can be granted and allows the request", () => {
    const path = fc
      .array(fc.constantFrom("a", "/", "%2f", "%41", ";", "\\", "..", "*", "%", "é", "?", ":"))
      .map((p) => `/${p.join("")}`);
    fc.assert(
      fc.property(path, fc.constantFrom(...METHODS), (text, method) => {
        const required = requiredFor("github", method, new JudgedPath(text));
        expect(parsePermission(required)).not.toHaveProperty("problem");
        expect(compilePermissions([required]).allowsProxy("github", method, new JudgedPath(text))).toBe(true);
      }),
    );
  });
});

describe("granting", () => {
  test.each<[string[], string[], string[]]>([
    [["*:*"], ["github:read", "*:write", "a:GET:/x/**"], []],
    [["*:*"], ["manage:read"], ["manage:read"]],
    [["manage:*"], ["manage:read", "manage:services", "manage:keys", "manage:*"], []],
    [["manage:keys"], ["manage:keys", "manage:read", "github:read"], ["manage:read", "github:read"]],
    [["manage:read", "manage:services", "manage:keys"], ["manage:*"], ["manage:*"]],
    [["github:read"], ["github:GET", "github:HEAD", "github:read"], []],
    [
      ["github:read"],
      ["github:POST", "github:*", "gitlab:GET", "*:read"],
      ["github:POST", "github:*", "gitlab:GET", "*:read"],
    ],
    [["github:read", "github:write"], ["github:*"], []],
    [["github:GET", "github:HEAD", "github:OPTIONS"], ["github:read"], []],
    [["github:POST", "github:PUT", "github:PATCH", "github:DELETE"], ["github:write"], ["github:write"]],
    [
      ["a:read:/x/**"],
      ["a:read:/x", "a:read:/x/", "a:GET:/x/y", "a:read:/x/*/z", "a:read:/x/**/z", "a:read:/x/**"],
      [],
    ],
    [
      ["a:read:/x/**"],
      ["a:read", "a:read:/**", "a:read:/xy", "a:read:/*"],
      ["a:read", "a:read:/**", "a:read:/xy", "a:read:/*"],
    ],
    [["a:read:/**"], ["a:read"], ["a:read"]],
    [["a:read:/*"], ["a:read:/x", "a:read:/x*", "a:read:/x%2Fy"], []],
    [["a:read:/*"], ["a:read:/", "a:read:/**", "a:read:/x/y"], ["a:read:/", "a:read:/**", "a:read:/x/y"]],
    [["a:read:/x*z"], ["a:read:/xyz", "a:read:/x*y*z", "a:read:/x*"], ["a:read:/x*"]],
    [["a:read:/**/z"], ["a:read:/z", "a:read:/x/**/z", "a:read:/x/**"], ["a:read:/x/**"]],
    [["a:read:/p/**", "a:write:/p/q/**"], ["a:*:/p/q/r"], []],
    [["a:read:/%61bc"], ["a:read:/abc"], []],
    [[], ["a:read", "nonsense"], ["a:read", "nonsense"]],
  ])("The holder of %j that grants %j lacks %j", (held, asked, lacking) => {
    expect(uncoveredBy(compilePermissions(held), asked)).toEqual(lacking);
  });

  test("A grant never allows more than the holder may do, by one permission or by several together", () => {
    const segment = fc.constantFrom("a", "b", "ab", "*", "a*", "*b", "**", "a*b", "%2F", "a%2Fb", "%61");
    const pattern = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => `:/${parts.join("/")}`);
    const permission = fc
      .tuple(
        fc.constantFrom("x", "y", "*"),
        fc.constantFrom("read", "write", "*", "GET", "POST"),
        fc.option(pattern, { nil: "" }),
      )
      .map(([service, action, path]) => `${service}:${action}${path}`);
    const piece = fc.constantFrom(
      "a",
      "b",
      "ab",
      "aab",
      "%2f",
      "//",
      "/",
      "/",
      "\\",
      "%61",
      ";a",
      "%252f",
      "..",
      "%5c",
    );
    const path = fc.array(piece, { maxLength: 8 }).map((parts) => `/${parts.join("")}`);
    let covered = 0;
    fc.assert(
      fc.property(
        fc.array(permission, { maxLength: 4 }),
        fc.array(permission, { maxLength: 3 }),
        fc.array(path, { minLength: 20 }),
        (held, asked, paths) => {
          const holder = compilePermissions(held);
          const lacking = uncoveredBy(holder, asked);
          const granted = compilePermissions(asked.filter((text) => !lacking.includes(text)));
          if (granted.hasProxy) covered++;
          for (const service of ["x", "y", "z"]) {
            for (const method of ["GET", "HEAD", "POST", "PUT"]) {
              for (const each of paths) {
                if (granted.allowsProxy(service, method, new JudgedPath(each)))
                  expect(holder.allowsProxy(service, method, new JudgedPath(each))).toBe(true);
              }
            }
          }
        },
      ),
      { numRuns: 400 },
    );
    expect(covered).toBeGreaterThan(20);
  });
});
