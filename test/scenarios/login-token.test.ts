/** Credentials whose refresh token comes from a login: before it, after it, and how it is stored, replaced and removed. */
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { createRecords } from "../../src/stores/records.ts";
import type { StoredRefreshToken } from "../../src/stores/stored-refresh-token.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { refuseToken, startTokenEndpoint } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-client";

const loginClient = (tokenUrl: string, more: object = {}): NonNullable<ServiceInput["auth"]> => ({
  type: "oauth2",
  grant: "refresh_token",
  tokenUrl,
  authorizationUrl: "https://login.example/authorize",
  refreshToken: "login",
  clientId: "the-client",
  clientSecretEnvVar: "CLIENT_SECRET",
  scope: "read",
  ...more,
});

/** Issues access tokens for the refresh tokens `refresh-<name>-of-the-user`, and another refresh token with each. */
function startIssuer() {
  return startTokenEndpoint(({ form }, count, res) => {
    const name = /^refresh-(\w+)(?:-\d+)?-of-the-user$/.exec(form.get("refresh_token") ?? "")?.[1];
    if (name === undefined) return refuseToken(res, 400, { error: "invalid_grant" });
    const token = { access_token: `token-${name}-${count}-of-the-user`, token_type: "bearer", expires_in: 3_600 };
    return { ...token, refresh_token: `refresh-${name}-${count}-of-the-user` };
  });
}

const json = { authorization: `Bearer ${MANAGEMENT_KEY}`, "content-type": "application/json" };

async function open(more: { readonly auth?: object; readonly isFull?: () => boolean } = {}) {
  const endpoint = await startIssuer();
  const vendor = await startUpstream((req, res) => {
    res.statusCode = String(req.headers.authorization).includes("revoked") ? 401 : 200;
    res.setHeader("cache-control", "max-age=60");
    res.end();
  });
  const credentials = createRecords<StoredRefreshToken>(async () => {
    if (more.isFull?.()) throw new Error("the disk is full");
  });
  const gateway = await startGateway({
    env: { EGRESS_ALLOW_PRIVATE: "true", CLIENT_SECRET: SECRET, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: {
      api: { baseUrl: vendor.url, auth: loginClient(endpoint.url, more.auth) },
      second: { baseUrl: vendor.url, auth: loginClient(endpoint.url, more.auth) },
      optional: { baseUrl: vendor.url, auth: loginClient(endpoint.url, { clientId: "other", required: false }) },
      lacking: { baseUrl: vendor.url, auth: loginClient(endpoint.url, { clientSecretEnvVar: "NOT_SET" }) },
      cached: { baseUrl: vendor.url, cache: true, auth: loginClient(endpoint.url, { clientId: "caching" }) },
      static: { baseUrl: vendor.url, auth: { type: "bearer", tokenEnvVar: "CLIENT_SECRET" } },
    },
    stores: { ...createMemoryStores<never, never, never>(), credentials } as never,
  });
  const shown: string[] = [];
  const ask = async (path: string, method = "GET", body?: unknown) => {
    const init = { method, headers: json, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(`${gateway.url}${path}`, init);
    const text = await response.text();
    shown.push(text);
    return { status: response.status, text, body: text === "" ? undefined : JSON.parse(text) };
  };
  const proxy = async (key = "api") => {
    const response = await fetch(`${gateway.url}/proxy/${key}/x`);
    const text = await response.text();
    shown.push(text);
    return { status: response.status, text };
  };
  const login = (body: unknown, key = "api") => ask(`/manage/services/${key}/credential`, "PUT", body);
  // Diagnostics request the base URL.
  const tokens = () =>
    vendor.requests.filter(({ url }) => url === "/x").map(({ headers }) => headers.authorization ?? "none");
  return { endpoint, vendor, gateway, credentials, shown, ask, proxy, login, tokens };
}

const stateOf = async ({ ask }: Awaited<ReturnType<typeof open>>, key = "api") => {
  const { body } = await ask("/status");
  return body.services.find((service: { key: string }) => service.key === key).credential;
};

const REFUSED: readonly (readonly [key: string, body: unknown, text: string])[] = [
  ["static", { refreshToken: "x-of-the-user" }, "does not come from a login"],
  ["lacking", { refreshToken: "x-of-the-user" }, "lacks a secret of its client"],
  ["nowhere", { refreshToken: "x-of-the-user" }, "SERVICE_NOT_CONFIGURED"],
  ["api", {}, "an object with refreshToken, or with accessToken"],
  ["api", { refreshToken: "" }, "an object with refreshToken"],
  ["api", { refreshToken: "x-of-the-user", accessToken: "y-of-the-user" }, "an object with refreshToken"],
  ["api", { refreshToken: "x-of-the-user\r\nX: y" }, "printable ASCII characters"],
  ["api", { accessToken: "x of-the-user" }, "printable ASCII characters"],
  ["api", { refreshToken: "x".repeat(16_385) }, "an object with refreshToken"],
  ["api", { refreshToken: MANAGEMENT_KEY }, "not one of the gateway's own keys"],
  ["api", { refreshToken: { a: "of-the-user" } }, "an object with refreshToken"],
  ["api", ["of-the-user"], "an object with refreshToken"],
];

describe("A refresh token that comes from a login", () => {
  test("Before a login requests get 401 with the command; after it they are sent with its tokens, which are shown nowhere", async () => {
    const opened = await open();
    const { proxy, login, ask, tokens, endpoint, shown, gateway, credentials } = opened;
    const refused = await proxy();
    expect(refused.status).toBe(401);
    expect(JSON.parse(refused.text)).toMatchObject({
      code: "UPSTREAM_CREDENTIAL_MISSING",
      message: "api needs a credential, but no login has taken place. Nothing was sent.",
      hint: expect.stringContaining("Run byteproxy login api where the gateway runs."),
    });
    expect((await proxy("optional")).status).toBe(200);
    expect(tokens()).toEqual(["none"]);
    expect(await stateOf(opened)).toMatchObject({ state: "missing", source: "CLIENT_SECRET, login" });
    const before = await ask("/manage/diagnostics");
    expect(before.text).toContain("no login for api has taken place");
    expect((await ask("/manage/services/api/credential/refresh", "POST")).text).toContain("no login has taken place");
    expect(endpoint.requests).toHaveLength(0);

    expect((await login({ refreshToken: "refresh-ann-of-the-user" })).status).toBe(204);
    // Both services have other clients, so that each has a login of its own.
    expect((await proxy()).status).toBe(200);
    expect((await proxy("optional")).status).toBe(200);
    expect(tokens().slice(1)).toEqual(["Bearer token-ann-1-of-the-user", "none"]);
    const [{ form } = { form: new URLSearchParams() }] = endpoint.requests;
    expect(Object.fromEntries(form)).toEqual({ grant_type: "refresh_token", refresh_token: "refresh-ann-of-the-user" });
    expect([...credentials.entries.values()].map(({ value }) => value)).toEqual([
      { service: "api", token: "refresh-ann-1-of-the-user", login: { id: expect.stringMatching(/^[0-9a-f-]{36}$/) } },
    ]);
    expect(await stateOf(opened)).toMatchObject({ state: "present", token: { state: "ready" } });
    expect((await ask("/manage/services/api/credential/refresh", "POST")).status).toBe(204);

    for (const path of ["/manage/services/api", "/manage/services", "/manage/diagnostics", "/manage/audit", "/metrics"])
      expect((await fetch(`${gateway.url}${path}`, { headers: json })).status).toBe(200);
    const audit = await ask("/manage/audit");
    expect(audit.body.entries.map(({ action }: { action: string }) => action)).toContain("credential.login");
    await ask("/manage/diagnostics");
    await ask("/manage/services");
    expect((await ask("/manage/explain", "POST", { method: "GET", path: "/proxy/api/x" })).status).toBe(200);
    expect(`${shown.join("\n")}${gateway.logText()}`).not.toMatch(/of-the-user|the-secret-of/);
  });

  test("While the endpoint refuses its token, the error names the command for another login", async () => {
    const { proxy, login } = await open();
    await login({ refreshToken: "revoked" });
    const refused = await proxy();
    expect([refused.status, JSON.parse(refused.text)]).toMatchObject([
      502,
      {
        message: expect.stringContaining("its token endpoint responded with 400 (invalid_grant)"),
        hint: expect.stringContaining("If the access was revoked, run byteproxy login api."),
      },
    ]);
    await login({ refreshToken: "refresh-bob-of-the-user" });
    expect((await proxy()).status).toBe(200);
  });

  test("Another login replaces it at once; a logout ends it", async () => {
    const { proxy, login, ask, tokens, vendor, credentials } = await open();
    await login({ refreshToken: "refresh-ann-of-the-user" });
    await proxy();
    await login({ refreshToken: "refresh-bob-of-the-user" });
    await proxy();
    expect(tokens()[1]).toMatch(/^Bearer token-bob-/);
    expect((await ask("/manage/services/api/credential", "DELETE")).status).toBe(204);
    expect((await proxy()).status).toBe(401);
    expect(vendor.requests).toHaveLength(2);
    expect(credentials.entries.size).toBe(0);
  });

  test("Two services with the same client and API have two logins, for two accounts", async () => {
    const { proxy, login, tokens, ask } = await open();
    await login({ refreshToken: "refresh-ann-of-the-user" });
    expect((await proxy("second")).status).toBe(401);
    await login({ refreshToken: "refresh-bob-of-the-user" }, "second");
    await proxy();
    await proxy("second");
    expect(tokens()).toEqual([
      expect.stringMatching(/^Bearer token-ann-/),
      expect.stringMatching(/^Bearer token-bob-/),
    ]);
    expect((await ask("/manage/services/second/credential", "DELETE")).status).toBe(204);
    expect([(await proxy()).status, (await proxy("second")).status]).toEqual([200, 401]);
  });

  test("A response to the token of the login before does not replace that of the new one", async () => {
    const { proxy, login, tokens, endpoint, credentials } = await open();
    let release = () => {};
    const answer = { access_token: "token-late-of-the-user", token_type: "bearer", expires_in: 3_600 };
    endpoint.respond(async () => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return { ...answer, refresh_token: "refresh-late-of-the-user" };
    });
    await login({ refreshToken: "refresh-ann-of-the-user" });
    await eventually(() => endpoint.requests.length === 1);
    const first = proxy();
    const second = login({ refreshToken: "refresh-bob-of-the-user" });
    endpoint.respond(({ form }) => ({ ...answer, access_token: `token-for-${form.get("refresh_token")}` }));
    release();
    expect((await second).status).toBe(204);
    await first;
    await proxy();
    expect(tokens().at(-1)).toBe("Bearer token-for-refresh-bob-of-the-user");
    expect([...credentials.entries.values()][0]?.value.token).toBe("refresh-bob-of-the-user");
  });

  test("An access token that does not expire is used as it is, and a refusal of the upstream is final", async () => {
    const opened = await open();
    const { proxy, login, ask, tokens, endpoint, gateway, shown } = opened;
    await login({ accessToken: "access-of-the-user", scope: "repo" });
    expect((await proxy()).status).toBe(200);
    expect(await stateOf(opened)).toMatchObject({ state: "present", token: { expiresAt: null, scope: "repo" } });
    expect((await ask("/manage/services/api/credential/refresh", "POST")).text).toContain("gave no refresh token");
    const claims = Buffer.from('{"exp":4102444800}').toString("base64url");
    const ending = await login({ accessToken: `e30.${claims}.c2lnbmF0dXJl` });
    expect([ending.status, ending.text]).toEqual([
      400,
      expect.stringContaining("an access token that does not expire"),
    ]);
    await login({ accessToken: "revoked-of-the-user" });
    expect((await proxy()).status).toBe(401);
    expect(tokens()).toEqual(["Bearer access-of-the-user", "Bearer revoked-of-the-user"]);
    expect(endpoint.requests).toHaveLength(0);
    expect(`${shown.join("\n")}${gateway.logText()}`).not.toContain("of-the-user");
  });

  test("A body that is no login, and a login for another kind of credential, are refused without a change, and not repeated", async () => {
    const { login, credentials, gateway } = await open();
    for (const [key, body, text] of REFUSED) {
      const refused = await login(body, key);
      expect([400, 404]).toContain(refused.status);
      expect(refused.text).toContain(text);
      expect(refused.text).not.toMatch(/of-the-user|management-key-0/);
    }
    expect(gateway.logText()).not.toMatch(/of-the-user|management-key-0/);
    expect(credentials.entries.size).toBe(0);
  });

  test("A login that cannot be stored is refused with 503, and the one before stays in use", async () => {
    let isFull = false;
    const { proxy, login, tokens } = await open({ isFull: () => isFull });
    await login({ accessToken: "access-of-the-user" });
    await proxy();
    isFull = true;
    const refused = await login({ accessToken: "other-of-the-user" });
    expect([refused.status, refused.body.code]).toEqual([503, "STORE_UNAVAILABLE"]);
    expect((await proxy()).status).toBe(200);
    expect(tokens()).toEqual(Array(2).fill("Bearer access-of-the-user"));
  });

  test("A response that was stored for the person before is not served after another login", async () => {
    const { proxy, login, tokens } = await open();
    for (const person of ["ann", "bob"]) {
      await login({ accessToken: `access-of-${person}` }, "cached");
      for (let at = 0; at < 2; at++) expect((await proxy("cached")).status).toBe(200);
    }
    expect(tokens()).toEqual(["Bearer access-of-ann", "Bearer access-of-bob"]);
  });

  test("A service added over REST has the auth and the origins of one in the file, or is refused; its login is its own", async () => {
    const { proxy, login, ask, tokens, endpoint, vendor } = await open();
    await login({ accessToken: "access-of-the-user" });
    const auth = loginClient(endpoint.url);
    expect((await ask("/manage/services/copy", "PUT", { baseUrl: `${vendor.url}/`, auth })).status).toBe(201);
    expect((await proxy("copy")).status).toBe(401);
    await login({ accessToken: "other-of-the-user" }, "copy");
    await proxy("copy");
    await proxy();
    expect(tokens()).toEqual(["Bearer other-of-the-user", "Bearer access-of-the-user"]);
    const others = [
      { baseUrl: "https://evil.example/", auth },
      { baseUrl: vendor.url, auth: { ...auth, tokenUrl: "https://evil.example/token" } },
      { baseUrl: vendor.url, auth: { ...auth, authorizationUrl: "https://evil.example/authorize" } },
      { baseUrl: vendor.url, auth: { ...auth, clientSecretEnvVar: undefined, clientAuth: "none" } },
    ];
    for (const other of others) {
      expect((await ask("/manage/services/other", "PUT", other)).body.code).toBe("EGRESS_NOT_ALLOWED");
    }
  });

  test("A change of the client ends it", async () => {
    const { proxy, login, gateway } = await open();
    await login({ accessToken: "access-of-the-user" });
    expect((await proxy()).status).toBe(200);
    const { readFileSync, writeFileSync } = await import("node:fs");
    const file = `${gateway.directory}/services.json`;
    writeFileSync(file, readFileSync(file, "utf8").replaceAll("the-client", "another-client"));
    await gateway.reload();
    expect((await proxy()).status).toBe(401);
  });
});
