/** Headers that ask an upstream to use another method or path, which the key does not allow. */
import { describe, expect, test } from "vitest";
import { decideProxyPermission } from "../../src/callers/decide-permission.ts";
import { JudgedPath } from "../../src/callers/judged-path.ts";
import type { FoundKey } from "../../src/callers/key-index.ts";
import { foldName } from "../../src/callers/overrides.ts";
import { compilePermissions, uncoveredBy } from "../../src/callers/permissions.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

test.each<[string, string, number, number]>([
  ["X-HTTP-Method-Override", "DELETE", 403, 403],
  ["x-http-method-override", "delete", 403, 403],
  ["X_HTTP_Method_Override", "DELETE", 403, 403],
  ["X-HTTP-Method", "PUT", 403, 403],
  ["X-Method-Override", "GET, PATCH", 403, 403],
  ["X-HTTP-Method-Override", "HEAD", 200, 200],
  ["X-Original-URL", "/admin", 403, 200],
  ["x-rewrite-url", "/admin", 403, 200],
  ["X_Original_URI", "/admin", 403, 200],
  ["X-Original-Host", "x", 200, 200],
  ["X.HTTP.Method.Override", "DELETE", 403, 403],
  ["x-amz-copy-source", "/private/x", 403, 200],
])(
  "A request with %s: %s gets %i with a key for reading one folder, and %i with one for reading everything",
  async (name, value, folder, all) => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url } },
    });
    const ask = async (key: string) =>
      (await fetch(`${gateway.url}/proxy/api/public/x`, { headers: { "x-api-key": key, [name]: value } })).status;
    const issue = async (permission: string) =>
      (await manage(gateway, "POST", "/keys", { name: "ci", permissions: [permission] })).body.key as string;
    expect(await ask(await issue("api:read:/public/**"))).toBe(folder);
    expect(await ask(await issue("api:read"))).toBe(all);
    expect(await ask(await issue("api:*"))).toBe(200);
    expect(await ask(PROXY_KEY)).toBe(200);
  },
);

describe("A header that names a method or a path", () => {
  test.each<[string, string, boolean, boolean]>([
    ["X.HTTP.Method.Override", "DELETE", false, false],
    ["x~http~method~override", "DELETE", false, false],
    ["X--HTTP-Method-Override", "DELETE", false, false],
    ["X-HTTP-Verb-Override", "DELETE", false, false],
    ["X-HTTP-Method-Override", "PROPOSE", false, false],
    ["X-Tunneled-Method", "put", false, false],
    ["X-Original-Method", "POST", false, false],
    ["Method", "delete", false, false],
    ["X-Payment-Method", "card", true, true],
    ["Access-Control-Request-Method", "DELETE", true, true],
    ["X-Original.URL", "/admin", false, true],
    ["X-Rewrite-Path", "/admin", false, true],
    ["X-Envoy-Original-Path", "/admin", false, true],
    ["X-Forwarded-Uri", "/admin", false, true],
    ["X-Forwarded-Prefix", "/admin", false, true],
    ["X.Forwarded.Path", "/admin", false, true],
    ["X-Waws-Unencoded-Url", "/admin", false, true],
    ["X-HTTP-DestinationURL", "/admin", false, true],
    ["X-Path-Override", "/admin", false, true],
    ["X-Script-Name", "/admin", false, true],
    ["Path-Info", "/admin", false, true],
    ["Destination", "/admin", false, true],
    ["x-amz-copy-source", "/private/x", false, true],
    ["X_Goog_Copy_Source", "/private/x", false, true],
    ["x-ms-rename-source", "/private/x", false, true],
    ["X-Copy-From", "/private/x", false, true],
    ["X-Object-Manifest", "private/x", false, true],
    ["X-Callback-URL", "https://x.example/", true, true],
    ["X-Source-Path", "a/b", true, true],
  ])(
    "%s: %s is allowed with a key for reading one folder: %s, and with one for reading everything: %s",
    (name, value, folder, all) => {
      const decide = (permission: string) => {
        const issued = {
          permissions: compilePermissions([permission]),
          allowsAddress: () => true,
        } as unknown as FoundKey;
        const asked = { serviceKey: "api", method: "GET", path: "/public/x", address: "192.0.2.1", ...NOT_QUERIED };
        return (
          decideProxyPermission({ id: "key_x", issued }, { ...asked, rawHeaders: ["Accept", "*/*", name, value] }) ===
          undefined
        );
      };
      expect([decide("api:read:/public/**"), decide("api:read"), decide("api:*")]).toEqual([folder, all, true]);
    },
  );
});

const NOT_QUERIED = { query: undefined, methodParameters: new Set<string>(), isFromProxy: false };

describe("A query that names a method", () => {
  const names = ["_method", "method", "_HttpMethod", "X-HTTP-Method-Override", "X-HTTP-Method"];
  const decide = (query: string, permissions: readonly string[], parameters: readonly string[] = names) => {
    const issued = { permissions: compilePermissions(permissions), allowsAddress: () => true } as unknown as FoundKey;
    const methodParameters = new Set(parameters.map(foldName));
    const asked = { serviceKey: "api", method: "POST", path: "/x", address: "192.0.2.1", rawHeaders: [] };
    return decideProxyPermission({ id: "key_x", issued }, { ...asked, query, methodParameters, isFromProxy: false });
  };

  test.each([
    "_method=DELETE",
    "a=1&_method=delete",
    "a=1;_method=delete",
    "method=delete",
    "%5fmethod=DELETE",
    "%5f%6dethod=%44ELETE",
    "+_method=DELETE",
    `${"+".repeat(300)}_method=DELETE`,
    `${"%20".repeat(300)}_method=DELETE`,
    `_method=${"+".repeat(300)}DELETE`,
    "_method%00x=DELETE",
    "method=DELETE%00x",
    ".method=DELETE",
    "_method[]=DELETE",
    "_METHOD=DELETE",
    "_method=POST&_method=DELETE",
    "_method=PROPOSE",
    "_method=%ff&x=%zz&_method=DELETE",
    "_HttpMethod=PATCH",
    "x_http_method_override=DELETE",
    "X-HTTP-Method=DELETE",
  ])("%s is refused with a key for POST, and allowed with a key for everything that is written", (query) => {
    expect(decide(query, ["api:POST:/**"])).toMatchObject({ code: "INSUFFICIENT_PERMISSIONS" });
    expect(decide(query, ["api:POST"])).toMatchObject({ code: "INSUFFICIENT_PERMISSIONS" });
    expect(decide(query, ["api:write"])).toBeUndefined();
    expect(decide(query, ["api:*"])).toBeUndefined();
    expect(decide(query, ["api:POST"], [])).toBeUndefined();
  });

  test.each([
    "method=flickr.photos.search",
    "user_method=DELETE",
    "_method",
    "_method=",
    "x[method]=DELETE",
    "q=_method",
  ])("%s names no method", (query) => {
    expect(decide(query, ["api:POST:/**"])).toBeUndefined();
  });

  test("Other parameters are named by the service", () => {
    expect(decide("verb=DELETE", ["api:POST"])).toBeUndefined();
    expect(decide("verb=DELETE", ["api:POST"], ["verb"])).toMatchObject({ code: "INSUFFICIENT_PERMISSIONS" });
    expect(decide("do=DELETE", ["api:POST"], ["do"])).toMatchObject({ code: "INSUFFICIENT_PERMISSIONS" });
  });

  test("The query of a request is judged for the service that it is for", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url }, rpc: { baseUrl: upstream.url, methodParameters: [] } },
    });
    const { body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions: ["api:POST", "rpc:POST"] });
    const ask = async (target: string) =>
      (await fetch(`${gateway.url}/proxy/${target}`, { method: "POST", headers: { "x-api-key": body.key } })).status;
    expect(await ask("api/x?_method=DELETE")).toBe(403);
    expect(await ask("api/x?method=post")).toBe(200);
    expect(await ask("rpc/x?_method=DELETE")).toBe(200);
  });
});

test("The X-Forwarded-* headers of a trusted proxy, which end at the gateway, ask for no path", () => {
  const issued = { permissions: compilePermissions(["api:GET:/**"]), allowsAddress: () => true } as unknown as FoundKey;
  const asked = { serviceKey: "api", method: "GET", path: "/x", address: "192.0.2.1", ...NOT_QUERIED };
  const decide = (name: string, isFromProxy: boolean) =>
    decideProxyPermission({ id: "key_x", issued }, { ...asked, rawHeaders: [name, "/app"], isFromProxy })?.code;
  expect(decide("X-Forwarded-Prefix", true)).toBeUndefined();
  expect(decide("X-Forwarded-Prefix", false)).toBe("INSUFFICIENT_PERMISSIONS");
  expect(decide("X.Forwarded.Prefix", true)).toBe("INSUFFICIENT_PERMISSIONS");
  expect(decide("X-Original-URL", true)).toBe("INSUFFICIENT_PERMISSIONS");
});

test("Thousands of methods in one override header are checked as the few kinds that they are", () => {
  let judged = 0;
  const permissions = {
    ...compilePermissions(["api:*:/**"]),
    allowsProxy: () => {
      judged++;
      return true;
    },
  };
  const issued = { permissions, allowsAddress: () => true } as unknown as FoundKey;
  const names = Array.from({ length: 3_000 }, (_, i) => `X${i}`).join(",");
  const rawHeaders = ["X-HTTP-Method-Override", `${names},DELETE,${names},delete`];
  const asked = { serviceKey: "api", method: "GET", path: "/x", address: "192.0.2.1", rawHeaders, ...NOT_QUERIED };
  expect(decideProxyPermission({ id: "key_x", issued }, asked)).toBeUndefined();
  // As it is sent, as GET, as DELETE, and as any method that no permission names.
  expect(judged).toBe(4);
});

describe("A WebSocket", () => {
  test("A WebSocket needs a permission to write, for everything, or for WEBSOCKET", async () => {
    const echo = await startWebSocketEcho();
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: echo.url, ws: true } },
    });
    const verdicts: [string, boolean][] = [
      ["api:read", false],
      ["api:GET", false],
      ["api:GET:/**", false],
      ["api:POST", false],
      ["api:write", true],
      ["api:*", true],
      ["api:WEBSOCKET", true],
      ["api:WEBSOCKET:/live/**", true],
      ["api:WEBSOCKET:/other/**", false],
      ["*:write:/live/*", true],
    ];
    for (const [permission, isOpened] of verdicts) {
      const { body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions: [permission] });
      const handshake =
        "GET /proxy/api/live/x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
        `x-api-key: ${body.key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
      const { text } = await rawRequest(gateway.port, handshake, { until: /\r\n\r\n/ });
      expect(text.slice(9, 12), permission).toBe(isOpened ? "101" : "403");
      if (!isOpened) expect(text).toContain('"api:WEBSOCKET:/live/x"');
    }
  });

  test("A key for WebSockets reads and writes nothing else, and no key grants them that may only read", () => {
    const held = compilePermissions(["api:WEBSOCKET"]);
    for (const method of ["GET", "POST", "OTHER"]) {
      expect(held.allowsProxy("api", method, new JudgedPath("/"))).toBe(false);
    }
    expect(uncoveredBy(compilePermissions(["api:read"]), ["api:WEBSOCKET"])).toEqual(["api:WEBSOCKET"]);
    expect(uncoveredBy(compilePermissions(["api:write"]), ["api:WEBSOCKET"])).toEqual([]);
    expect(uncoveredBy(held, ["api:write", "api:WEBSOCKET"])).toEqual(["api:write"]);
  });
});
