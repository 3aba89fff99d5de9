/** Credentials of type oauth2, with a real authorization server or a stand-in, a real gateway and a real upstream. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Provider } from "oidc-provider";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { createRecords } from "../../src/stores/records.ts";
import type { StoredRefreshToken } from "../../src/stores/stored-refresh-token.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { startLoopbackServer } from "../support/loopback-server.ts";
import { startProcess } from "../support/process.ts";
import { refuseToken, startTokenEndpoint, type TokenAnswer } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-client";

function clientOf(tokenUrl: string, more: object = {}): NonNullable<ServiceInput["auth"]> {
  return {
    type: "oauth2",
    grant: "client_credentials",
    tokenUrl,
    clientId: "the-client",
    clientSecretEnvVar: "CLIENT_SECRET",
    ...more,
  };
}

/** Accepts every token but the refused ones, and shows what it got. */
async function startVendor(refused: Set<string> = new Set()) {
  return startUpstream((req, res) => {
    req.resume();
    req.on("end", () => {
      const authorization = String(req.headers.authorization);
      res.statusCode = refused.has(authorization.replace("Bearer ", "")) ? 401 : 200;
      res.setHeader("x-got", authorization);
      res.end(`got ${authorization}`);
    });
  });
}

const env = { EGRESS_ALLOW_PRIVATE: "true", CLIENT_SECRET: SECRET, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };

async function open(tokenUrl: string, more: { auth?: object; refused?: Set<string>; service?: object } = {}) {
  const vendor = await startVendor(more.refused);
  const api = { baseUrl: vendor.url, auth: clientOf(tokenUrl, more.auth), ...more.service };
  const gateway = await startGateway({ env, services: { api, other: { baseUrl: vendor.url } } });
  return { vendor, gateway, proxy: `${gateway.url}/proxy/api/x`, ...gateway };
}

async function ask(url: string, init: RequestInit = {}) {
  const response = await fetch(url, init);
  const text = await response.text();
  return { status: response.status, headers: response.headers, text };
}

describe("A real authorization server", () => {
  async function startProvider() {
    const { server, url: issuer } = await startLoopbackServer();
    const client = { redirect_uris: [], response_types: [], grant_types: ["client_credentials"], scope: "read write" };
    const provider = new Provider(issuer, {
      clients: [
        {
          ...client,
          client_id: "basic:client",
          client_secret: "s%cret +/:of the client",
          token_endpoint_auth_method: "client_secret_basic",
        },
        {
          ...client,
          client_id: "post-client",
          client_secret: SECRET,
          token_endpoint_auth_method: "client_secret_post",
        },
      ] as never,
      scopes: ["read", "write"],
      features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    });
    server.on("request", provider.callback());
    return { provider, issuer, tokenUrl: `${issuer}/token` };
  }

  test("Its client credentials grant gives tokens to clients that authenticate with Basic or in the form", async () => {
    const { provider, issuer, tokenUrl } = await startProvider();
    const vendor = await startVendor();
    const { url } = await startGateway({
      env: { ...env, ODD_SECRET: "s%cret +/:of the client" },
      services: {
        basic: {
          baseUrl: vendor.url,
          auth: clientOf(tokenUrl, { clientId: "basic:client", clientSecretEnvVar: "ODD_SECRET", scope: "read write" }),
        },
        post: {
          baseUrl: vendor.url,
          auth: clientOf(tokenUrl, { clientId: "post-client", clientAuth: "post", scope: "read" }),
        },
        discovered: {
          baseUrl: vendor.url,
          auth: { ...clientOf(tokenUrl, { clientId: "post-client", clientAuth: "post" }), tokenUrl: undefined, issuer },
        },
        elsewhere: {
          baseUrl: vendor.url,
          auth: { ...clientOf(tokenUrl), tokenUrl: undefined, issuer: `${issuer}/other` },
        },
      },
    });
    for (const [key, clientId, scope] of [
      ["basic", "basic:client", "read write"],
      ["post", "post-client", "read"],
      ["discovered", "post-client", undefined],
    ]) {
      const got = await ask(`${url}/proxy/${key}/x`);
      expect(got.text).toContain("got Bearer");
      const sent = vendor.requests.at(-1)?.headers.authorization ?? "";
      const token = await provider.ClientCredentials.find(sent.replace("Bearer ", ""));
      expect([token?.clientId, token?.scope]).toEqual([clientId, scope]);
    }
    const failed = await ask(`${url}/proxy/elsewhere/x`);
    expect([failed.status, JSON.parse(failed.text).code]).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    expect(failed.text).toContain("its token endpoint was not found by discovery: the issuer responded with 404.");
  });
});

describe("An access token", () => {
  test("It is fetched at the first request, reused for later ones, and shown nowhere", async () => {
    const endpoint = await startTokenEndpoint((_, count) => ({
      access_token: `token-${count}-of-the-endpoint`,
      token_type: "bearer",
      expires_in: 3_600,
      scope: "read",
    }));
    const auth = { scope: "read write", audience: "https://api.example", params: { resource: "x y" } };
    const { proxy, url, vendor, gateway } = await open(endpoint.url, { auth });
    const explained = await ask(`${url}/manage/explain`, {
      method: "POST",
      headers: { ...manage, "content-type": "application/json" },
      body: JSON.stringify({ method: "GET", path: "/proxy/api/x" }),
    });
    expect(explained.status).toBe(200);
    expect(endpoint.requests).toHaveLength(0);

    for (let at = 0; at < 3; at++) {
      const answer = await ask(proxy);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("x-got")).not.toContain("token-1");
    }
    expect(vendor.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array(3).fill("Bearer token-1-of-the-endpoint"),
    );
    expect(endpoint.requests).toHaveLength(1);
    const [{ form, authorization } = { form: new URLSearchParams(), authorization: "" }] = endpoint.requests;
    expect(Object.fromEntries(form)).toEqual({
      grant_type: "client_credentials",
      scope: "read write",
      audience: "https://api.example",
      resource: "x y",
    });
    expect(authorization).toBe(`Basic ${Buffer.from(`the-client:${SECRET}`).toString("base64")}`);

    const status = await ask(`${url}/status`, { headers: manage });
    const [api] = JSON.parse(status.text).services.filter(({ key }: { key: string }) => key === "api");
    expect(api.credential).toMatchObject({
      state: "present",
      type: "oauth2",
      source: "CLIENT_SECRET",
      token: { state: "ready", scope: "read", failure: null },
    });
    expect(Date.parse(api.credential.token.expiresAt)).toBeGreaterThan(Date.now() + 3_500_000);
    const metrics = await ask(`${url}/metrics`, { headers: manage });
    expect(metrics.text).toMatch(/byteproxy_credential_expires_seconds\{service="api",renewed_by="gateway"\} \d{10}\n/);
    expect(metrics.text).not.toContain('byteproxy_credential_expires_seconds{service="other"');
    const diagnostics = await ask(`${url}/manage/diagnostics`, { headers: manage });
    expect(diagnostics.text).toContain('"scope":"read"');
    const shown = [explained, status, metrics, diagnostics, await ask(`${url}/manage/services`, { headers: manage })];
    for (const { text } of shown) expect(text).not.toMatch(/token-1-of|the-secret-of/);
    expect(gateway.logText()).not.toMatch(/token-1-of|the-secret-of/);
  });

  test("200 requests after it has expired need one fetch, and none of them fails", async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const endpoint = await startTokenEndpoint(async (_, count) => {
      if (count === 2) await gate;
      return { access_token: `token-${count}`, token_type: "bearer", expires_in: count === 1 ? 1 : 3_600 };
    });
    const { proxy, vendor, url } = await open(endpoint.url, { service: { maxConcurrent: 200 } });
    expect((await ask(proxy)).status).toBe(200);
    const hasExpired = async () =>
      (await ask(`${url}/status`, { headers: manage })).text.includes('"token":{"state":"none"');
    await eventually(hasExpired, "the end of the token");
    const waiting = Promise.all(Array.from({ length: 200 }, () => ask(proxy)));
    await eventually(() => endpoint.requests.length === 2, "the second fetch");
    release();
    expect(new Set((await waiting).map(({ status }) => status))).toEqual(new Set([200]));
    expect(endpoint.requests).toHaveLength(2);
    expect(new Set(vendor.requests.slice(1).map(({ headers }) => headers.authorization))).toEqual(
      new Set(["Bearer token-2"]),
    );
  });

  test("A token that the upstream refuses is replaced, and the request is sent again once", async () => {
    const endpoint = await startTokenEndpoint();
    const refused = new Set<string>();
    const { proxy, vendor } = await open(endpoint.url, { refused });
    expect((await ask(proxy)).status).toBe(200);
    refused.add("token-1-of-the-endpoint");
    expect((await ask(proxy)).status).toBe(200);
    expect(vendor.requests).toHaveLength(3);
    expect(endpoint.requests).toHaveLength(2);
    // An upstream that refuses every token does not make the gateway fetch one for each request.
    refused.add("token-2-of-the-endpoint").add("token-3-of-the-endpoint");
    for (let at = 0; at < 5; at++) expect((await ask(proxy)).status).toBe(401);
    expect(endpoint.requests.length).toBeLessThanOrEqual(3);
  });

  test("When a token is revoked under load, one fetch serves all requests, and none of them fails", async () => {
    const endpoint = await startTokenEndpoint();
    const refused = new Set<string>();
    const { proxy, vendor } = await open(endpoint.url, { refused });
    expect((await ask(proxy)).status).toBe(200);
    refused.add("token-1-of-the-endpoint");
    const responses = await Promise.all(Array.from({ length: 100 }, () => ask(proxy)));
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
    expect(endpoint.requests).toHaveLength(2);
    expect(vendor.requests.length).toBeLessThanOrEqual(201);
  });

  test("A gRPC upstream refuses a token with status 200; the next call has another one", async () => {
    const endpoint = await startTokenEndpoint();
    const grpc = await startHttp2Upstream((stream, headers) => {
      const status = headers.authorization === "Bearer token-1-of-the-endpoint" ? 16 : 0;
      stream.respond(
        { ":status": 200, "content-type": "application/grpc", "grpc-status": status },
        { endStream: true },
      );
    });
    const { url } = await open(endpoint.url, { service: { baseUrl: grpc.url, http2: true } });
    const call = async () => {
      const { status, headers } = await ask(`${url}/proxy/api/a.B/C`, { method: "POST", body: "x" });
      return [status, headers.get("grpc-status")];
    };
    expect(await call()).toEqual([200, "16"]);
    await eventually(() => endpoint.requests.length === 2, "the second fetch");
    expect(await eventually(async () => (await call())[1] === "0", "a call with the second token")).toBe(true);
    expect(endpoint.requests).toHaveLength(2);
  });

  test("An operator fetches another one; a failure keeps the current one; a static credential is refused", async () => {
    const endpoint = await startTokenEndpoint();
    const { proxy, url, vendor } = await open(endpoint.url);
    const refresh = (key: string) =>
      ask(`${url}/manage/services/${key}/credential/refresh`, { method: "POST", headers: manage });
    await ask(proxy);
    expect((await refresh("api")).status).toBe(204);
    await ask(proxy);
    expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer token-2-of-the-endpoint");
    endpoint.respond((_, __, res) => refuseToken(res, 400, { error: "invalid_client", error_description: "private" }));
    const failed = await refresh("api");
    expect([failed.status, JSON.parse(failed.text).code]).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    expect(failed.text).toContain("responded with 400 (invalid_client)");
    expect((await ask(proxy)).status).toBe(200);
    expect(JSON.parse((await refresh("other")).text).code).toBe("VALIDATION_ERROR");
    expect((await refresh("missing")).status).toBe(404);
    const audit = await ask(`${url}/manage/audit`, { headers: manage });
    expect(audit.text.match(/credential\.refresh/g)).toHaveLength(2);
  });

  test("A reload keeps it, and so does a change of another member of the service", async () => {
    const endpoint = await startTokenEndpoint();
    const { proxy, url, reload } = await open(endpoint.url);
    await ask(proxy);
    await reload();
    await ask(proxy);
    const patched = await ask(`${url}/manage/services/api`, {
      method: "PATCH",
      headers: { ...manage, "content-type": "application/merge-patch+json" },
      body: JSON.stringify({ timeoutMs: 9_000 }),
    });
    expect(patched.status).toBe(200);
    expect((await ask(proxy)).status).toBe(200);
    expect(endpoint.requests).toHaveLength(1);
  });
});

describe("A token endpoint that fails", () => {
  // Beside the ways of every kind of token, in token-endpoint-failures.test.ts.
  const hostile: readonly [string, TokenAnswer, string][] = [
    [
      "refuses the client",
      (_, __, res) =>
        refuseToken(
          res,
          401,
          { error: "invalid_client", error_description: "private-text" },
          { "www-authenticate": "Basic" },
        ),
      "responded with 401 (invalid_client)",
    ],
    [
      "has an error code that is no word",
      (_, __, res) => refuseToken(res, 400, { error: "private-text\r\nX: y" }),
      "responded with 400.",
    ],
    [
      "repeats the client's secret as its error code",
      (_, __, res) => refuseToken(res, 400, { error: SECRET }),
      "responded with 400.",
    ],
    ["has no type", () => ({ access_token: "private-text" }), "without a valid token_type"],
    ["has a token for DPoP", () => ({ access_token: "private-text", token_type: "DPoP" }), "bound to a key (DPoP)"],
    [
      "has a token of another type",
      () => ({ access_token: "private-text", token_type: "mac" }),
      "of a type that is not bearer",
    ],
    [
      "has a negative expires_in",
      () => ({ access_token: "private-text", token_type: "bearer", expires_in: -1 }),
      "without a valid expires_in",
    ],
    [
      "has a word as expires_in",
      () => ({ access_token: "private-text", token_type: "bearer", expires_in: "soon" }),
      "without a valid expires_in",
    ],
  ];

  test("Whatever it responds with, requests get 502 without its text, and nothing reaches the upstream", async () => {
    let asked: TokenAnswer | undefined;
    const endpoint = await startTokenEndpoint((...request) => asked?.(...request));
    const vendor = await startVendor();
    const services = hostile.map((_, at) => [
      `api-${at}`,
      { baseUrl: vendor.url, auth: clientOf(endpoint.url, { params: { at: `${at}` } }) },
    ]);
    const gateway = await startGateway({ env, services: Object.fromEntries(services) });
    for (const [at, [name, answer, reason]] of hostile.entries()) {
      asked = answer;
      const answered = await ask(`${gateway.url}/proxy/api-${at}/x`);
      expect([answered.status, JSON.parse(answered.text).code], name).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
      expect(answered.text, name).toContain(reason);
      // At once, without another request to the endpoint.
      expect((await ask(`${gateway.url}/proxy/api-${at}/x`)).status, name).toBe(502);
      expect(endpoint.requests, name).toHaveLength(at + 1);
      expect(answered.text, name).not.toMatch(/private|the-secret-of/);
      expect(answered.text, name).not.toContain(MANAGEMENT_KEY);
    }
    expect(vendor.requests).toHaveLength(0);
    const status = await ask(`${gateway.url}/status`, { headers: manage });
    for (const text of [status.text, gateway.logText()]) {
      expect(text).not.toMatch(/private|the-secret-of/);
      expect(text).not.toContain(MANAGEMENT_KEY);
    }
  });

  test.each([
    ["a text", "3600", 3_600],
    ["no member", undefined, undefined],
    ["more than a year", 1e300, 365 * 86_400],
  ])("An expires_in as %s is accepted", async (_, expires_in, seconds) => {
    const endpoint = await startTokenEndpoint(() => ({
      access_token: "token-of-the-endpoint",
      token_type: "BEARER",
      expires_in,
    }));
    const { proxy, url } = await open(endpoint.url);
    expect((await ask(proxy)).status).toBe(200);
    const { services } = JSON.parse((await ask(`${url}/status`, { headers: manage })).text);
    const { token } = services.find(({ key }: { key: string }) => key === "api").credential;
    if (seconds === undefined) expect(token.expiresAt).toBeNull();
    else expect(Math.abs((Date.parse(token.expiresAt) - Date.now()) / 1_000 - seconds)).toBeLessThan(60);
  });

  test("A service with auth.required false is used without a credential meanwhile", async () => {
    const endpoint = await startTokenEndpoint((_, __, res) => refuseToken(res, 503, ""));
    const { proxy, vendor } = await open(endpoint.url, { auth: { required: false } });
    expect((await ask(proxy)).status).toBe(200);
    expect(vendor.requests[0]?.headers.authorization).toBeUndefined();
  });

  test("Stored responses are served meanwhile, stale ones where stale-if-error allows it", async () => {
    const endpoint = await startTokenEndpoint((_, count) => ({
      access_token: `token-${count}-of-the-endpoint`,
      ...{ token_type: "bearer", expires_in: 1 },
    }));
    const vendor = await startUpstream((req, res) => {
      res.setHeader("cache-control", req.url === "/fresh" ? "max-age=60" : "max-age=0, stale-if-error=60");
      res.setHeader("etag", '"one"');
      res.end("stored");
    });
    const service = { baseUrl: vendor.url, cache: true as const };
    const { url } = await open(endpoint.url, { service });
    const get = async (path: string) => {
      const { status, headers } = await ask(`${url}/proxy/api${path}`);
      return [status, headers.get("x-proxy-cache")];
    };
    expect([await get("/fresh"), await get("/stale")]).toEqual([
      [200, "miss"],
      [200, "miss"],
    ]);
    endpoint.respond((_, __, res) => refuseToken(res, 503, ""));
    const post = async () => (await ask(`${url}/proxy/api/other`, { method: "POST" })).status;
    await eventually(async () => (await post()) === 502, "the end of the token");
    expect([await get("/fresh"), await get("/stale")]).toEqual([
      [200, "hit"],
      [200, "stale"],
    ]);
  });

  test("A request waits for a slow endpoint only as long as its own time lasts", async () => {
    const endpoint = await startTokenEndpoint(() => undefined);
    const { proxy, url } = await open(endpoint.url, { service: { timeoutMs: 100 } });
    const answered = await ask(proxy);
    expect([answered.status, JSON.parse(answered.text).code]).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    expect((await ask(`${url}/proxy/other/x`)).status).toBe(200);
  });

  test("An address of cloud metadata is not a token endpoint", async () => {
    const { proxy, gateway } = await open("http://169.254.169.254/token");
    expect((await ask(proxy)).status).toBe(502);
    expect(gateway.logText()).toContain("169.254.169.254");
  });
});

describe("A service added over REST", () => {
  type Change = (service: { baseUrl: string; auth: Record<string, unknown> }) => object;

  const changes: readonly [string, Change][] = [
    ["another tokenUrl", ({ auth, ...api }) => ({ ...api, auth: { ...auth, tokenUrl: "http://127.0.0.1:9/token" } })],
    ["another scope", ({ auth, ...api }) => ({ ...api, auth: { ...auth, scope: "admin" } })],
    ["another parameter", ({ auth, ...api }) => ({ ...api, auth: { ...auth, params: { a: "b" } } })],
    ["another client", ({ auth, ...api }) => ({ ...api, auth: { ...auth, clientId: "other" } })],
    ["another base URL", (api) => ({ ...api, baseUrl: "http://127.0.0.1:9" })],
    ["one more base URL", (api) => ({ ...api, versionedBaseUrls: { v1: "http://127.0.0.1:9" } })],
    ["the token in messages of a WebSocket", (api) => ({ ...api, ws: { inject: { match: {}, path: "d.content" } } })],
    [
      "the client's secret as a bearer token",
      (api) => ({ ...api, auth: { type: "bearer", tokenEnvVar: "CLIENT_SECRET" } }),
    ],
  ];

  test("It has the credential with the auth and the origins of a service of the file, and with no other ones", async () => {
    const endpoint = await startTokenEndpoint();
    const vendor = await startVendor();
    const api = { baseUrl: vendor.url, auth: { ...clientOf(endpoint.url) } };
    const rest = { REST_SECRETS: "CLIENT_SECRET@http://127.0.0.1:9" };
    const { url } = await startGateway({ env: { ...env, ...rest }, services: { api } });
    const put = (change: Change) =>
      ask(`${url}/manage/services/copy`, {
        method: "PUT",
        headers: { ...manage, "content-type": "application/json" },
        body: JSON.stringify(change(structuredClone(api) as never)),
      });
    for (const [name, change] of changes) {
      const { status, text } = await put(change);
      expect([status, JSON.parse(text).code], name).toEqual([403, "EGRESS_NOT_ALLOWED"]);
      expect(text, name).toMatch(/services file/);
    }
    expect(endpoint.requests).toHaveLength(0);
    expect((await put((same) => ({ ...same, timeoutMs: 1_000 }))).status).toBe(201);
    expect((await ask(`${url}/proxy/copy/x`)).status).toBe(200);
    expect(endpoint.requests).toHaveLength(1);
  });
});

/** Accepts each refresh token once, and issues another one with it. */
async function startRotating() {
  let valid = "refresh-0-of-the-user";
  const endpoint = await startTokenEndpoint((request, count, res) => {
    if (request.form.get("refresh_token") !== valid) return refuseToken(res, 400, { error: "invalid_grant" });
    valid = `refresh-${count}-of-the-user`;
    const token = { access_token: `token-${count}-of-the-user`, token_type: "bearer", expires_in: 3_600 };
    return { ...token, refresh_token: valid, id_token: "not.checked.here" };
  });
  return endpoint;
}

const refreshing = (tokenUrl: string, more: object = {}) =>
  clientOf(tokenUrl, { grant: "refresh_token", refreshTokenEnvVar: "REFRESH_TOKEN", ...more });

describe("A refresh token that the endpoint rotates", () => {
  test("It is in DATA_DIR before its access token is used, so that a kill loses nothing", async () => {
    const endpoint = await startRotating();
    let stored = "";
    const vendor = await startUpstream((_, res) => {
      stored = readFileSync(join(first.directory, "data", "credentials.json"), "utf8");
      first.child.kill("SIGKILL");
      res.end();
    });
    const services = { api: { baseUrl: vendor.url, auth: refreshing(endpoint.url) } };
    const files = { "services.json": JSON.stringify({ services }) };
    const variables = { CONFIG_FILE: "services.json", CLIENT_SECRET: SECRET, REFRESH_TOKEN: "refresh-0-of-the-user" };
    const first = startProcess(variables, [], files);
    const port = await first.port();
    await ask(`http://127.0.0.1:${port}/proxy/api/x`).catch(() => {});
    await first.ended;
    expect(stored).toContain("refresh-1-of-the-user");
    expect(statSync(join(first.directory, "data", "credentials.json")).mode & 0o777).toBe(0o600);

    const after = await startVendor();
    const moved = { api: { baseUrl: after.url, auth: refreshing(endpoint.url) } };
    const again = { ...variables, DATA_DIR: join(first.directory, "data") };
    // A base URL with another origin discards it.
    const other = startProcess(again, [], { "services.json": JSON.stringify({ services: moved }) });
    const refused = await ask(`http://127.0.0.1:${await other.port()}/proxy/api/x`);
    expect(refused.text).toContain("responded with 400 (invalid_grant)");
    other.child.kill("SIGKILL");
    await other.ended;

    const second = startProcess(again, [], files);
    await ask(`http://127.0.0.1:${await second.port()}/proxy/api/x`).catch(() => {});
    expect(endpoint.requests.map(({ form }) => form.get("refresh_token"))).toEqual([
      "refresh-0-of-the-user",
      "refresh-0-of-the-user",
      "refresh-1-of-the-user",
    ]);
    expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer token-3-of-the-user");
  });

  test("While it cannot be stored, its access token is not used; the next fetch has the newest one", async () => {
    const endpoint = await startRotating();
    const vendor = await startVendor();
    let isFull = true;
    const stores = createMemoryStores<never, never, never>();
    const credentials = createRecords<StoredRefreshToken>(async () => {
      if (isFull) throw new Error("the disk is full");
    });
    const auth = refreshing(endpoint.url, { clientAuth: "none", clientSecretEnvVar: undefined });
    const { url, logText } = await startGateway({
      env: { ...env, REFRESH_TOKEN: "refresh-0-of-the-user" },
      services: { api: { baseUrl: vendor.url, auth } },
      stores: { ...stores, credentials } as never,
    });
    const refused = await ask(`${url}/proxy/api/x`);
    expect(refused.text).toContain("issued another refresh token, which could not be stored");
    expect(vendor.requests).toHaveLength(0);
    isFull = false;
    const refreshed = await ask(`${url}/manage/services/api/credential/refresh`, { method: "POST", headers: manage });
    expect(refreshed.status).toBe(204);
    expect((await ask(`${url}/proxy/api/x`)).headers.get("x-got")).not.toContain("token-2");
    expect(vendor.requests[0]?.headers.authorization).toBe("Bearer token-2-of-the-user");
    expect(endpoint.requests[1]?.form.get("client_id")).toBe("the-client");
    expect([...credentials.entries.values()].map(({ value }) => value)).toEqual([
      { service: "api", token: "refresh-2-of-the-user" },
    ]);
    for (const { text } of [refused, await ask(`${url}/status`, { headers: manage })])
      expect(text).not.toMatch(/of-the-user/);
    expect(logText()).not.toMatch(/of-the-user/);
  });
});
