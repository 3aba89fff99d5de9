/** JSON Web Tokens as the keys of callers: with a real issuer, which changes its keys, fails and is slow. */
import { once } from "node:events";
import type { JWTPayload } from "jose";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createTokenVerifier } from "../../src/callers/token-verifier.ts";
import { fetchJson } from "../../src/data-plane/forward/fetch-json.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import {
  AUDIENCE,
  assemble,
  claimsWith,
  createIssuerKey,
  ISSUER,
  inSeconds,
  SECRET,
  signWithSecret,
  startIssuer,
} from "../support/issuer.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const SECRET_ENV = { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, JWT_SECRET: SECRET };

async function start(env: Record<string, string> = SECRET_ENV, more: Record<string, object> = {}) {
  const upstream = await startUpstream();
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...env },
    services: {
      api: { baseUrl: upstream.url },
      other: { baseUrl: upstream.url },
      secured: { baseUrl: upstream.url, auth: { type: "api-key", headerName: "x-goog-api-key", tokenEnvVar: "G" } },
      ...more,
    },
  });
  return { gateway, upstream };
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

async function ask({ url }: TestGateway, headers: Record<string, string>, path = "/proxy/api/x", method = "GET") {
  const response = await fetch(`${url}${path}`, { headers, method });
  const body = await response.text();
  const code = body.startsWith("{") ? (JSON.parse(body).code as string | undefined) : undefined;
  return { status: response.status, code, body, headers: response.headers };
}

describe("a gateway with JWT settings", () => {
  test("JWT settings protect the proxy plane and satisfy REQUIRE_AUTH_FOR_PROXY, and keys of other kinds still work", async () => {
    const { gateway } = await start({ ...SECRET_ENV, REQUIRE_AUTH_FOR_PROXY: "true", PROXY_API_KEY: PROXY_KEY });
    expect((await ask(gateway, {})).code).toBe("MISSING_CREDENTIALS");
    expect((await ask(gateway, bearer("an-unknown-key-0123456789"))).code).toBe("INVALID_API_KEY");
    expect((await ask(gateway, { "x-api-key": PROXY_KEY })).status).toBe(200);
    expect((await ask(gateway, bearer(await signWithSecret()))).status).toBe(200);
    const { gateway: withoutKey } = await start({ ...SECRET_ENV, REQUIRE_AUTH_FOR_PROXY: "true" });
    expect((await ask(withoutKey, {})).code).toBe("MISSING_CREDENTIALS");
    const status = (await ask(withoutKey, {}, "/auth-status")).body;
    expect(JSON.parse(status)).toMatchObject({ proxy: { protected: true } });
    expect(status).toContain("JSON Web Token");
  });

  test.each<[string, (token: string) => [headers: Record<string, string>, path: string]]>([
    ["Authorization: Bearer", (token) => [bearer(token), "/proxy/api/x"]],
    ["x-api-key", (token) => [{ "x-api-key": token }, "/proxy/api/x"]],
    ["?api_key=", (token) => [{}, `/proxy/api/x?api_key=${token}`]],
    ["the place of the service's credential", (token) => [{ "x-goog-api-key": token }, "/proxy/secured/x"]],
  ])("A token opens a service from %s, and does not travel", async (_, place) => {
    const { gateway, upstream } = await start({ ...SECRET_ENV, G: "the-credential-of-the-service" });
    const token = await signWithSecret();
    const [headers, path] = place(token);
    const copies = { cookie: `session=1; auth=${token}`, "x-copy": token, "x-basic": `Basic ${btoa(`u:${token}`)}` };
    for (let i = 0; i < 2; i++) expect((await ask(gateway, { ...headers, ...copies }, path)).status).toBe(200);
    for (const { rawHeaders, url } of upstream.requests) {
      const sent = [...rawHeaders, url].join("\n");
      expect(sent).not.toContain(token.slice(-20));
      expect(sent).not.toContain(btoa(`u:${token}`));
      expect(sent).not.toContain("x-copy");
    }
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual(["jwt:alice", "jwt:alice"]);
    expect(gateway.logText()).not.toContain(token.split(".")[2]);
  });

  test("An expired token of the issuer does not travel either, and a token for the upstream does", async () => {
    const { gateway, upstream } = await start({ ...SECRET_ENV, PROXY_API_KEY: PROXY_KEY });
    const expired = await signWithSecret({ exp: inSeconds(-600) });
    const foreign = await signWithSecret({ aud: "https://upstream.example" });
    await ask(gateway, { "x-api-key": PROXY_KEY, ...bearer(expired) });
    await ask(gateway, { "x-api-key": PROXY_KEY, ...bearer(foreign) });
    expect(upstream.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, `Bearer ${foreign}`]);
  });

  test("A token permits what its claim names and nothing else, and lists only its services", async () => {
    const { gateway } = await start();
    const token = await signWithSecret({ permissions: ["api:GET:/repos/**"] });
    expect((await ask(gateway, bearer(token), "/proxy/api/repos/a")).status).toBe(200);
    for (const [path, method] of [
      ["/proxy/api/users", "GET"],
      ["/proxy/api/repos/a", "DELETE"],
      ["/proxy/other/repos/a", "GET"],
    ] as const) {
      expect(await ask(gateway, bearer(token), path, method)).toMatchObject({
        status: 403,
        code: "INSUFFICIENT_PERMISSIONS",
      });
    }
    const { services } = JSON.parse((await ask(gateway, bearer(token), "/proxy/services")).body);
    expect(services.map(({ key }: { key: string }) => key)).toEqual(["api"]);
    expect(JSON.parse((await ask(gateway, bearer(token), "/proxy/auth-test")).body).caller).toBe("jwt:alice");
    const none = await signWithSecret({ permissions: undefined });
    expect((await ask(gateway, bearer(none))).code).toBe("INSUFFICIENT_PERMISSIONS");
  });

  test("No token opens /manage, and presenting one there is no guess", async () => {
    const { gateway } = await start();
    const token = await signWithSecret({ permissions: ["manage:*", "*:*"] });
    for (let i = 0; i < 12; i++) {
      expect((await ask(gateway, bearer(token), "/manage/services")).code).toBe("INVALID_API_KEY");
    }
    expect((await ask(gateway, { "x-api-key": MANAGEMENT_KEY }, "/manage/services")).status).toBe(200);
  });

  test("A refusal says no more than that the token is expired or invalid, and has the challenge of RFC 6750", async () => {
    const { gateway } = await start();
    const expired = await ask(gateway, bearer(await signWithSecret({ exp: inSeconds(-600) })));
    expect(expired).toMatchObject({ status: 401, code: "TOKEN_EXPIRED" });
    const invalid = await Promise.all(
      [
        await signWithSecret({}, `${SECRET}x`),
        await signWithSecret({ aud: "other" }),
        await signWithSecret({ exp: undefined }),
        await signWithSecret({ nbf: inSeconds(600) }),
        assemble({ alg: "none" }, claimsWith(), ""),
      ].map((token) => ask(gateway, bearer(token))),
    );
    for (const { status, code, headers } of [expired, ...invalid]) {
      expect([status, headers.get("www-authenticate")]).toEqual([401, 'Bearer error="invalid_token"']);
      if (code !== "TOKEN_EXPIRED") expect(code).toBe("INVALID_TOKEN");
    }
    const withoutIds = invalid.map(({ body }) => ({ ...JSON.parse(body), requestId: "", timestamp: "" }));
    expect(new Set(withoutIds.map((body) => JSON.stringify(body))).size).toBe(1);
  });

  test("Badly signed tokens count as guesses, expired ones do not, and a token that worked stays usable", async () => {
    const { gateway } = await start();
    const good = await signWithSecret();
    const expired = await signWithSecret({ exp: inSeconds(-600) });
    expect((await ask(gateway, bearer(good))).status).toBe(200);
    for (let i = 0; i < 15; i++) expect((await ask(gateway, bearer(expired))).status).toBe(401);
    for (let i = 0; i < 10; i++) await ask(gateway, bearer(await signWithSecret({ jti: `${i}` }, `${SECRET}x`)));
    expect((await ask(gateway, bearer(await signWithSecret({ sub: "new" })))).code).toBe("TOO_MANY_AUTH_FAILURES");
    expect((await ask(gateway, bearer(good))).status).toBe(200);
  });

  test("A limit per caller counts the tokens of one subject together, and apart from those of another", async () => {
    const limited = {
      limited: { baseUrl: "http://127.0.0.1:9", rateLimit: { maxRequests: 1, windowMs: 60_000, per: "caller" } },
    };
    const { gateway } = await start(SECRET_ENV, limited);
    const statusOf = async (claims: JWTPayload) =>
      (await ask(gateway, bearer(await signWithSecret(claims)), "/proxy/limited/x")).status;
    expect(await statusOf({ jti: "1" })).toBe(502);
    expect(await statusOf({ jti: "2" })).toBe(429);
    expect(await statusOf({ sub: "bob" })).toBe(502);
  });

  test("Explain and key-debug know tokens and show no part of one", async () => {
    const { gateway } = await start();
    const token = await signWithSecret({ permissions: ["api:read"] });
    const explain = async (path: string, value: string) =>
      (await manage(gateway, "POST", "/explain", { method: "GET", path, headers: bearer(value) })).body;
    expect(await explain("/proxy/api/x", token)).toMatchObject({
      verdict: "forward",
      request: { caller: "jwt:alice" },
    });
    expect(await explain("/proxy/other/x", token)).toMatchObject({ refusal: { code: "INSUFFICIENT_PERMISSIONS" } });
    expect(await explain("/proxy/api/x", await signWithSecret({ exp: 1 }))).toMatchObject({
      refusal: { code: "TOKEN_EXPIRED" },
    });
    const debug = await ask(gateway, { "x-api-key": MANAGEMENT_KEY, ...bearer(token) }, "/manage/key-debug");
    expect(debug.status).toBe(200);
    expect(debug.body).not.toContain(token.split(".")[2]);
    expect(JSON.parse(debug.body)).toMatchObject({
      keys: { proxy: { configured: false, protected: true }, tokens: { configured: true } },
      presented: [
        {
          where: "Authorization",
          matches: "proxy",
          token: { state: "valid", caller: "jwt:alice", permissions: ["api:read"] },
        },
        { where: "x-api-key", matches: "management", token: null },
      ],
    });
  });

  test("A reload with another secret ends the tokens of the one before", async () => {
    const env: Record<string, string> = { ...SECRET_ENV, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
    const upstream = await startUpstream();
    const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
    const token = await signWithSecret();
    expect((await ask(gateway, bearer(token))).status).toBe(200);
    env.JWT_SECRET = `${SECRET}-2`;
    expect((await gateway.reload()).isDone).toBe(true);
    expect((await ask(gateway, bearer(token))).code).toBe("INVALID_TOKEN");
    expect((await ask(gateway, bearer(await signWithSecret({}, env.JWT_SECRET)))).status).toBe(200);
  });
});

test("A WebSocket is closed with 1001 when its token has expired", async () => {
  const echo = await startWebSocketEcho();
  const { gateway } = await start(SECRET_ENV, { ws: { baseUrl: echo.url, ws: true } });
  const open = async (exp: number) => {
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/ws/`, {
      headers: bearer(await signWithSecret({ exp })),
    });
    await once(socket, "open");
    return socket;
  };
  const lasting = await open(inSeconds(600));
  // It expires 30 s after its exp, the tolerance for clocks.
  const [code] = await once(await open(inSeconds(-28)), "close");
  expect(code).toBe(1001);
  expect(lasting.readyState).toBe(WebSocket.OPEN);
  lasting.close();
  await once(lasting, "close");
});

test("A malformed message after a request with a new token gets its own response, in order", async () => {
  const { gateway } = await start();
  const ask = (token: string) =>
    rawRequest(gateway.port, `GET /proxy/api/x HTTP/1.1\r\nHost: a\r\nx-api-key: ${token}\r\n\r\nBAD \x01\r\n\r\n`);
  const refused = await ask(await signWithSecret({}, `${SECRET}x`));
  expect(refused.status).toBe(401);
  expect(refused.text).toContain('WWW-Authenticate: Basic realm="ByteProxy"');
  const relayed = await ask(await signWithSecret());
  expect(relayed.status).toBe(200);
});

describe("an issuer with a key set", () => {
  test("A rotated key set is fetched again over HTTP, and the last keys stay while the issuer fails, lies or hangs up", async () => {
    const [first, second] = [await createIssuerKey("one"), await createIssuerKey("two")];
    const issuer = await startIssuer(first);
    let now = Date.now();
    const egress = { allowsPrivate: true, ownListeners: () => [] };
    const verifier = createTokenVerifier({
      settings: {
        issuer: ISSUER,
        audiences: [AUDIENCE],
        permissionsClaim: undefined,
        source: { kind: "jwks", url: issuer.env.JWT_JWKS_URL },
      },
      fetchJson: (url) => fetchJson(url, { isTlsStrict: true, egress, proxyUse: undefined }),
      report() {},
      now: () => now,
    });
    const stateOf = async (key: typeof first) =>
      (await verifier.verify(await key.sign({ exp: inSeconds(9_000) }))).state;
    expect(await stateOf(first)).toBe("valid");
    issuer.state.keys = [second];
    now += 30_000;
    expect([await stateOf(second), await stateOf(first)]).toEqual(["valid", "invalid"]);
    for (const failure of [{ status: 500 }, { status: 302 }, { status: 200, keys: [] }]) {
      Object.assign(issuer.state, failure);
      now += 300_000;
      expect(await stateOf(second)).toBe("valid");
    }
    Object.assign(issuer.state, { status: 200, keys: [first] });
    now += 300_000;
    expect([await stateOf(first), await stateOf(second)]).toEqual(["valid", "invalid"]);
    expect(issuer.requests).toHaveLength(7);
  });

  test("Keys are fetched with the first token only, and a reload keeps them while the issuer fails", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    const { gateway } = await start(issuer.env);
    expect((await ask(gateway, {})).status).toBe(401);
    expect(issuer.requests).toHaveLength(0);
    for (let i = 0; i < 5; i++) {
      expect((await ask(gateway, bearer(await key.sign({ jti: `${i}` })))).status).toBe(200);
    }
    expect(issuer.requests).toHaveLength(1);
    issuer.state.status = 500;
    expect((await gateway.reload()).isDone).toBe(true);
    expect((await ask(gateway, bearer(await key.sign({ jti: "after" })))).status).toBe(200);
  });

  test("While no key was ever fetched a token is 503 with Retry-After, and works as soon as the issuer responds", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    issuer.state.status = 500;
    const { gateway } = await start(issuer.env);
    const token = await key.sign();
    const refused = await ask(gateway, bearer(token));
    expect(refused).toMatchObject({ status: 503, code: "TOKEN_KEYS_UNAVAILABLE" });
    expect(refused.headers.get("retry-after")).toBe("5");
    const { body } = await manage(gateway, "GET", "/diagnostics");
    const check = (body as { checks: { id: string }[] }).checks.find(({ id }) => id === "tokens");
    expect(check).toMatchObject({ status: "fail", summary: expect.stringContaining("the response was 500") });
    issuer.state.status = 200;
    await eventually(async () => (await ask(gateway, bearer(token))).status === 200);
    expect(gateway.lines().filter(({ msg }) => String(msg).includes("could not be fetched"))).toHaveLength(1);
  });

  test("A slow issuer delays only requests with new tokens", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    let release = () => {};
    issuer.state.held = new Promise((resolve) => {
      release = resolve;
    });
    const { gateway } = await start({ ...issuer.env, PROXY_API_KEY: PROXY_KEY });
    const waiting = Promise.all(["1", "2", "3"].map(async (jti) => ask(gateway, bearer(await key.sign({ jti })))));
    await eventually(() => issuer.requests.length === 1);
    expect((await ask(gateway, { "x-api-key": PROXY_KEY })).status).toBe(200);
    expect((await ask(gateway, bearer("an-unknown-key-0123456789"))).status).toBe(401);
    release();
    expect((await waiting).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(issuer.requests).toHaveLength(1);
  });

  test("The key set is fetched through the egress policy", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    const { gateway } = await start({ ...issuer.env, EGRESS_ALLOW_PRIVATE: "false" });
    expect((await ask(gateway, bearer(await key.sign()))).code).toBe("TOKEN_KEYS_UNAVAILABLE");
    expect(issuer.requests).toHaveLength(0);
  });
});
