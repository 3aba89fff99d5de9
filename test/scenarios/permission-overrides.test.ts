/** Headers that ask an upstream to use another method or path, which the key does not allow. */
import { expect, test } from "vitest";
import { decideProxyPermission } from "../../src/callers/decide-permission.ts";
import type { FoundKey } from "../../src/callers/key-index.ts";
import { compilePermissions } from "../../src/callers/permissions.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

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
  const asked = { serviceKey: "api", method: "GET", path: "/x", address: "192.0.2.1", rawHeaders };
  expect(decideProxyPermission({ id: "key_x", issued }, asked)).toBeUndefined();
  // As it is sent, as GET, as DELETE, and as any method that no permission names.
  expect(judged).toBe(4);
});
