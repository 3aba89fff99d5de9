import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ServiceAddresses } from "../../../src/config/service-addresses.ts";
import { createLinkRewriter } from "../../../src/data-plane/forward/links.ts";
import { createOwnAddress } from "../../../src/data-plane/forward/own-address.ts";
import { isForWholeHost, scopeCookie } from "../../../src/data-plane/forward/scope-cookie.ts";
import type { Base } from "../../../src/data-plane/prepared-service.ts";
import { costOf } from "../../support/cost.ts";

const base = (url: string, versionPath = ""): Base => {
  const { origin, pathname } = new URL(url);
  return { origin, path: pathname, prefix: pathname.replace(/\/$/, ""), versionPath };
};

const createRewriter = () =>
  createLinkRewriter({
    bases: [base("https://api.test/api/v10/"), base("https://api.test/api/v9/", "/v9")],
    isRewriting: true,
    requestUrl: "https://api.test/api/v10/users/me",
    publicBase: "http://gw:3420",
    clientUrl: "http://gw:3420/proxy/api/users/me",
    serviceKey: "api",
    gatewayPrefix: "/proxy/api",
    isAtOwnAddress: false,
    locate: createOwnAddress({
      hosts: ["gw:3420"],
      services: new ServiceAddresses(),
      listeners: () => [{ address: "127.0.0.1", port: 3420 }],
    }),
    secretParameters: ["key"],
    inserted: [],
  });

/** A rewriter judges the links of one response. */
const rewriter = {
  location: (value: string) => createRewriter().location(value),
  link: (value: string) => createRewriter().link(value),
  refresh: (value: string) => createRewriter().refresh(value),
  leavesService: (value: string) => createRewriter().leavesService(value),
};

describe("link", () => {
  test.each([
    ["https://api.test/api/v10/users?page=2", "http://gw:3420/proxy/api/users?page=2"],
    ["https://api.test/api/v10", "http://gw:3420/proxy/api"],
    ["https://api.test/api/v10/", "http://gw:3420/proxy/api/"],
    ["https://api.test/api/v10?x=1", "http://gw:3420/proxy/api?x=1"],
    ["https://api.test/api/v10#x", "http://gw:3420/proxy/api#x"],
    ["https://api.test/api/v10/a?x=/../b", "http://gw:3420/proxy/api/a?x=/../b"],
    ["/api/v1\t0/users", "http://gw:3420/proxy/api/users"],
    ["https://api.test/api/v9/users", "http://gw:3420/proxy/api/v9/users"],
    ["HTTPS://API.Test:443/api/v10/a%2Fb#c", "http://gw:3420/proxy/api/a%2Fb#c"],
    ["//api.test/api/v10/users", "http://gw:3420/proxy/api/users"],
    ["/api/v10/users", "http://gw:3420/proxy/api/users"],
  ])("The link %s to the service's base leads to the gateway", (from, to) => {
    expect(rewriter.location(from)).toBe(to);
  });

  test.each([
    ["https://api.test/api/v100/users"],
    ["https://api.test/login"],
    ["http://api.test/api/v10/users"],
    ["https://api.test:8443/api/v10/users"],
    ["https://other.test/api/v10/users"],
    ["https://api.test@other.test/api/v10/"],
    ["https://api.test/api/v10/../admin"],
    ["https://api.test/api/v10/%2e%2e/admin"],
    ["mailto:a@api.test"],
    ["next?page=2"],
    ["?page=2"],
    [""],
    ["http://["],
  ])("The link %s to another place is unchanged", (value) => {
    expect(rewriter.location(value)).toBe(value);
  });

  test.each(["/login", "/proxy/api/x"])(
    "The link %s to another path of the upstream gets the upstream's host",
    (path) => {
      expect(rewriter.location(path)).toBe(`https://api.test${path}`);
    },
  );

  test("Of two bases that contain a link, the longer one is replaced", () => {
    const { location } = createLinkRewriter({
      bases: [base("https://api.test/"), base("https://api.test/old/9/", "/v9")],
      isRewriting: true,
      requestUrl: "https://api.test/users/me",
      publicBase: "http://gw:3420",
      clientUrl: "http://gw:3420/proxy/api/users/me",
      serviceKey: "api",
      gatewayPrefix: "/proxy/api",
      isAtOwnAddress: false,
      locate: () => undefined,
      secretParameters: [],
      inserted: [],
    });
    expect(location("https://api.test/old/9/users")).toBe("http://gw:3420/proxy/api/v9/users");
    expect(location("https://api.test/old/8/users")).toBe("http://gw:3420/proxy/api/old/8/users");
  });

  test("A redirect leaves the service if one of its readings does", () => {
    expect(rewriter.leavesService("https://other.test/x")).toBe(true);
    expect(rewriter.leavesService("http://evil.test\\@gw:3420/proxy/api/x")).toBe(true);
    for (const value of ["x", "http://gw:3420/proxy/api/x", "https://api.test/login"])
      expect(rewriter.leavesService(value), value).toBe(false);
  });

  test("A rewritten link does not contain the parameter that carries the credential", () => {
    expect(rewriter.location("https://api.test/api/v10/a?key=SECRET&page=2")).toBe("http://gw:3420/proxy/api/a?page=2");
    expect(rewriter.location("https://other.test/?%6bey=SECRET#x")).toBe("https://other.test/#x");
  });

  test("A Link header is rewritten target by target, with its parameters unchanged", () => {
    expect(
      rewriter.link(
        '<https://api.test/api/v10/a?page=2>; rel="next", <https://other.test/b>; rel="last"; title="a, <b>"',
      ),
    ).toBe('<http://gw:3420/proxy/api/a?page=2>; rel="next", <https://other.test/b>; rel="last"; title="a, <b>"');
  });

  test("A quoted parameter of Link is text and stays as it is, however it is quoted, unless it has a link to another part of the gateway", () => {
    const text = 'title="see <https://api.test/api/v10/a>"; x="\\"<https://api.test/api/v10/b>\\""';
    expect(rewriter.link(`<https://api.test/api/v10/c>; ${text}, </api/v10/d>; rel=e`)).toBe(
      `<http://gw:3420/proxy/api/c>; ${text}, <http://gw:3420/proxy/api/d>; rel=e`,
    );
    // Clients that search the field for `<…>; rel="next"` do not see the quotes.
    const quoted = '<https://api.test/api/v10/c>; title="</manage/keys>; rel="next"';
    expect(rewriter.link(quoted)).toBe('<http://gw:3420/proxy/api/c>; title="<http://gw:3420/proxy/api/>; rel="next"');
    const unclosed = '<https://api.test/api/v10/c>; title="<https://api.test/api/v10/a>\\';
    expect(rewriter.link(unclosed)).toBe('<http://gw:3420/proxy/api/c>; title="<https://api.test/api/v10/a>\\');
  });

  test("A long Link value is read in linear time", () => {
    const startedAt = performance.now();
    for (const unit of ['"\\', '\\"', "<", '<"', "; "]) rewriter.link(unit.repeat(40_000));
    rewriter.refresh(`${" ".repeat(60_000)}x`);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test.each([
    ["5; url=https://api.test/api/v10/a", "5; url=http://gw:3420/proxy/api/a"],
    ["0;URL='/api/v10/a?b=1'; x", "0;URL='http://gw:3420/proxy/api/a?b=1'; x"],
    ['1.5 , url = "/login"', '1.5 , url = "https://api.test/login"'],
    ["3 /api/v10/a", "3 http://gw:3420/proxy/api/a"],
    ["5", "5"],
    ["5; url=", "5; url="],
    ["0; url=/api/v10/a?key=SECRET&b=1", "0; url=http://gw:3420/proxy/api/a?b=1"],
  ])("The reference in Refresh: %s is a link: %s", (from, to) => {
    expect(rewriter.refresh(from)).toBe(to);
  });

  test.each([
    ["../admin", "https://api.test/api/v10/admin", false],
    ["../../x", "https://api.test/api/x", true],
    ["../../../manage/keys", "https://api.test/manage/keys", true],
    ["%2e%2e/%2E./../manage", "https://api.test/manage", true],
    [".\t./..\t/../manage", "https://api.test/manage", true],
    ["..\\..\\..\\manage", "https://api.test/manage", true],
    ["../../v9/users", "http://gw:3420/proxy/api/v9/users", false],
  ])("The relative link %j leads where the upstream meant it to: %s", (from, to, isOutside) => {
    const written = rewriter.location(from);
    const asSeen = new URL(written, "http://gw:3420/proxy/api/users/me");
    if (isOutside) expect(written).toBe(to);
    else expect(asSeen.href.replace("http://gw:3420/proxy/api/admin", "https://api.test/api/v10/admin")).toBe(to);
  });

  const blocking = (
    value: string,
    { host = "gw:3420", publicBase = "http://gw:3420", isRewriting = true, secure = true } = {},
  ) => {
    const of = createLinkRewriter({
      bases: [base(secure ? "https://api.test/" : "http://api.test/")],
      isRewriting,
      requestUrl: secure ? "https://api.test/users/me" : "http://api.test/users/me",
      publicBase,
      clientUrl: `${publicBase || "http://gateway.invalid"}/proxy/api/users/me`,
      serviceKey: "api",
      gatewayPrefix: "/proxy/api",
      isAtOwnAddress: false,
      locate: createOwnAddress({
        hosts: [host],
        services: new ServiceAddresses(),
        listeners: () => [
          { address: "127.0.0.1", port: 3420 },
          { address: "::1", port: 3420 },
        ],
      }),
      secretParameters: [],
      inserted: [],
    });
    return [of.location(value), of.hasBlocked];
  };

  test.each([
    ["http://gw:3420/proxy/other/x"],
    ["HTTP://GW:3420/proxy/other/x"],
    ["http://gw.:3420/manage/services"],
    ["https://gw:3420/proxy/other"],
    ["//gw:3420/proxy/other"],
    ["\\\\gw:3420\\proxy\\other"],
    ["/\\gw:3420/proxy/other"],
    ["http:\\\\gw:3420/proxy/other"],
    ["http://user:pw@gw:3420/proxy/other"],
    ["http://gw:3420\\@evil.test/"],
    ["ht\ttp://g\tw:3420/proxy/other"],
    ["http://localhost:3420/proxy/other"],
    ["http://LOCALHOST.:3420/proxy/other"],
    ["http://127.0.0.1:3420/proxy/other"],
    ["http://127.1:3420/proxy/other"],
    ["http://0x7f.1:3420/proxy/other"],
    ["http://2130706433:3420/proxy/other"],
    ["http://0177.0.0.1:3420/proxy/other"],
    ["http://0:3420/proxy/other"],
    ["http://[::1]:3420/proxy/other"],
    ["http://[::ffff:127.0.0.1]:3420/proxy/other"],
    ["http://gw:3420/proxy/api/../other"],
    ["http://gw:3420/proxy/api/%2e%2e/other"],
    ["http://gw:3420/proxy/api/..%2f..%2fmanage"],
    ["http://gw:3420/proxy/api/..%5c..%5cmanage"],
    ["http://gw:3420/proxy/apix/y"],
    ["http://gw:3420/"],
  ])("The link %j to the gateway outside the service is replaced by the root of the service", (value) => {
    expect(blocking(value)).toEqual(["http://gw:3420/proxy/api/", true]);
  });

  test("A reference whose host depends on the reader leads all readers to the same host", () => {
    expect(blocking("http://evil.test\\@gw:3420/proxy/other")).toEqual([
      "http://evil.test/@gw:3420/proxy/other",
      false,
    ]);
  });

  test("A reference with a scheme and no host is read as the upstream's client would read it", () => {
    const [insecure] = blocking("http:/proxy/other/x", { secure: false });
    expect(insecure).toBe("http://gw:3420/proxy/api/proxy/other/x");
    expect(blocking("http:/proxy/other/x")).toEqual(["http://proxy/other/x", false]);
  });

  test.each(["https:/proxy/other/x", "https:../../other/x", "ht\ttps:/manage/keys", " https:\\proxy\\other"])(
    "The link %j, which is a path to a client in front of a TLS-terminating proxy, leads no client to another service",
    (value) => {
      for (const isRewriting of [true, false]) {
        for (const secure of [true, false]) {
          const [written] = blocking(value, { isRewriting, secure });
          const { host, pathname } = new URL(written as string, "https://gw:3420/proxy/api/users/me");
          if (host === "gw:3420") expect(pathname).toMatch(/^\/proxy\/api\//);
        }
      }
    },
  );

  test("A link to the gateway inside the service, or to another port of its host, is unchanged", () => {
    for (const value of [
      "http://gw:3420/proxy/api",
      "http://localhost:3420/proxy/api/x?y",
      "http://127.0.0.1:8080/proxy/other",
      "http://gw:8080/proxy/other",
      "http://gw.test:3420/proxy/other",
    ]) {
      expect(blocking(value)).toEqual([value, false]);
    }
  });

  test("A default port and the path of PUBLIC_URL belong to the gateway's address", () => {
    const options = { host: "gw.test", publicBase: "https://gw.test/gw" };
    for (const value of ["https://gw.test:443/gw/proxy/other", "http://gw.test/gw/manage", "https://gw.test/other"]) {
      expect(blocking(value, options)).toEqual(["https://gw.test/gw/proxy/api/", true]);
    }
    for (const path of ["/p/proxy/other", "/proxy/other", "/p/%6danage/keys"]) {
      const isBlocked = ["https://gw.test/p/proxy/api/", true];
      expect(blocking(path, { host: "gw.test", publicBase: "https://gw.test/p", isRewriting: false })).toEqual(
        isBlocked,
      );
    }
    expect(blocking("https://gw.test/gw/proxy/api/x", options)).toEqual(["https://gw.test/gw/proxy/api/x", false]);
  });

  test("A gateway that does not know its name judges relative links by their path, and links without rewriting by what they reach", () => {
    expect(blocking("//gateway.invalid/proxy/other", { publicBase: "" })).toEqual(["/proxy/api/", true]);
    const off = { isRewriting: false };
    for (const value of ["/login", "/users?x", "x", "http://["]) expect(blocking(value, off)).toEqual([value, false]);
    const astray = ["/proxy/other", "/%70roxy/other", "//gw:3420/manage/keys", "../../proxy/other"];
    astray.push("/manage", "/MANAGE/keys", "http://gw:3420//proxy/other");
    for (const value of astray) expect(blocking(value, off)).toEqual(["http://gw:3420/proxy/api/", true]);
    expect(blocking("/gw/manage/keys", { ...off, publicBase: "http://gw:3420/gw" })).toEqual([
      "http://gw:3420/gw/proxy/api/",
      true,
    ]);
  });

  const judging = () =>
    createLinkRewriter({
      bases: [base("https://api.test/")],
      isRewriting: true,
      requestUrl: "https://api.test/users/me",
      publicBase: "http://gw:3420",
      clientUrl: "http://gw:3420/proxy/api/users/me",
      gatewayPrefix: "/proxy/api",
      serviceKey: "api",
      isAtOwnAddress: false,
      locate: createOwnAddress({
        hosts: ["gw:3420"],
        services: new ServiceAddresses(),
        listeners: () => [{ address: "0.0.0.0", port: 3420 }],
      }),
      inserted: [],
      secretParameters: [],
    });

  test("Links to the gateway's port at an address, which may be one of this machine's, take little longer than others", async () => {
    const timeOf = (target: string) => costOf(() => judging().link(`<${target}>,`.repeat(300)), 25);
    expect(await timeOf("//9.9.9.9:3420/")).toBeLessThan(5 * (await timeOf("//9.9.9.9:3421/")));
  });

  test("Of the links of one response the first thousand are relayed, so that the time for all of them is bounded", () => {
    const rewriter = judging();
    const links = "<//9.9.9.9:3420/>,";
    expect(rewriter.link(links.repeat(999))).toBe(links.repeat(999));
    expect(rewriter.hasBlocked).toBe(false);
    expect(rewriter.link(links.repeat(3))).toBe(links);
    expect(rewriter.hasBlocked).toBe(true);
    expect(rewriter.link('x="<a>", <b>')).toBe('x="');
    expect(rewriter.location("https://api.test/x")).toBe("http://gw:3420/proxy/api/");
    expect(rewriter.refresh("0; url=https://api.test/x")).toBe("0; url=http://gw:3420/proxy/api/");
  });

  test("No text becomes a link to another part of the gateway", () => {
    const piece = fc.constantFrom(
      ...["http:", "https:", "/", "\\", "..", ".", "%2e", "\t", "gw:3420", "127.1:3420", "@", "x", "proxy", "manage"],
      ...["api", "other", "?", "#", "%2f", "%5C", ":"],
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const [written] = blocking(pieces.join(""), { secure: pieces.length % 2 === 0 });
        // The second client is in front of a server that speaks https.
        for (const client of ["http://gw:3420/proxy/api/users/me", "https://gw:3420/proxy/api/users/me"]) {
          if (!URL.canParse(written as string, client)) continue;
          const { host, pathname } = new URL(written as string, client);
          if (host === "gw:3420" || host === "127.0.0.1:3420") expect(pathname).toMatch(/^\/proxy\/api(?:\/|$)/);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("No text makes the rewriter throw, and a link below the base keeps its rest byte for byte", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        rewriter.location(text);
        rewriter.link(text);
        rewriter.refresh(text);
        rewriter.leavesService(text);
      }),
    );
    fc.assert(
      fc.property(fc.webPath(), (path) => {
        if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path)) return;
        expect(rewriter.location(`https://api.test/api/v10${path}`)).toBe(`http://gw:3420/proxy/api${path}`);
      }),
    );
  });
});

const cookieBase = { origin: "https://a.test", path: "/api/", prefix: "/api", versionPath: "" };

test.each([
  ["id=1", "id=1; Path=/proxy/a/"],
  ["id=1; Path=/; HttpOnly", "id=1; HttpOnly; Path=/proxy/a/"],
  ["id=1; path=/api/users; Secure", "id=1; Secure; Path=/proxy/a/users"],
  ["id=1; Path=/api", "id=1; Path=/proxy/a/"],
  ["id=1; Path=/apix", "id=1; Path=/proxy/a/"],
  ["id=1; Domain=a.test; Path=/api/x; Max-Age=5", "id=1; Max-Age=5; Path=/proxy/a/x"],
  ["id=a=b==; DOMAIN=.test", "id=a=b==; Path=/proxy/a/"],
  ["id=1; Path=relative", "id=1; Path=/proxy/a/"],
  ["id=1; Path= /api/x ; Secure", "id=1; Secure; Path=/proxy/a/x"],
  ["id=1; Path=/api/a=b", "id=1; Path=/proxy/a/a=b"],
  ["id=1; Path=/api/x; Path=/api/y", "id=1; Path=/proxy/a/y"],
])("The cookie %s is limited to the service: %s", (from, to) => {
  expect(scopeCookie(from, cookieBase, "/proxy/a", [])).toBe(to);
});

test("A path that is too long for browsers, which would use the path of the request instead, becomes that of the service", () => {
  const cookie = (length: number, publicPath = "") =>
    scopeCookie(`id=1; Path=/api/${"x".repeat(length)}`, cookieBase, `${publicPath}/proxy/a`, []);
  const most = 1_024 - "/proxy/a/".length;
  expect(cookie(most)).toBe(`id=1; Path=/proxy/a/${"x".repeat(most)}`);
  expect(cookie(most + 1)).toBe("id=1; Path=/proxy/a/");
  expect(cookie(most, "/gw")).toBe("id=1; Path=/gw/proxy/a/");
});

test("A cookie without a path belongs to the whole service, also for a version at the upstream's root", () => {
  const version = { ...cookieBase, path: "/", prefix: "", versionPath: "/v9" };
  expect(scopeCookie("id=1", version, "/proxy/a", [])).toBe("id=1; Path=/proxy/a/");
  expect(scopeCookie("id=1; Path=/x", version, "/proxy/a", [])).toBe("id=1; Path=/proxy/a/v9/x");
});

test("A cookie's path begins with the path of PUBLIC_URL, as the browser sees it", () => {
  expect(scopeCookie("id=1; Path=/api/x", cookieBase, "/gw/proxy/a", [])).toBe("id=1; Path=/gw/proxy/a/x");
  expect(scopeCookie("id=1", cookieBase, "/gw/proxy/a", [])).toBe("id=1; Path=/gw/proxy/a/");
});

test("A cookie for the whole host is found in any case and without a name", () => {
  for (const cookie of ["__Host-a=1", "__host-a=1", " __HOST-Http-a=1", "=__Host-a=1", "\t= __hOsT-a"]) {
    expect(isForWholeHost(cookie), cookie).toBe(true);
  }
  for (const cookie of ["__Secure-a=1", "a=__Host-b", "_Host-a=1", "host"]) expect(isForWholeHost(cookie)).toBe(false);
});
