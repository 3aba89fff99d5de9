/** Several credentials for one upstream, over real sockets: which one each attempt uses, who waits, and what a refusal costs. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { type QuotaUpstreamOptions, startQuotaUpstream } from "../support/quota-upstream.ts";
import { refuseToken, startTokenEndpoint } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const SECRETS = ["first-secret-0123", "second-secret-0123", "third-secret-0123"] as const;
const NAMES = ["TOKEN_A", "TOKEN_B", "TOKEN_C"] as const;
const env: Record<string, string> = {
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
  EGRESS_ALLOW_PRIVATE: "true",
  ...Object.fromEntries(NAMES.map((name, index) => [name, SECRETS[index] as string])),
};
const pool = (names: readonly string[] = NAMES, more = {}) =>
  ({ type: "pool", of: names.map((tokenEnvVar) => ({ type: "bearer", tokenEnvVar }) as const), ...more }) as const;

/** An upstream that counts what each secret asked for. @param refuses the secrets that get 401. */
async function startCounting(refuses: ReadonlySet<string> = new Set()) {
  const seen: string[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    seen.push(secret);
    req.resume();
    res.statusCode = refuses.has(secret) ? 401 : 200;
    res.end(secret);
  });
  return { upstream, seen };
}

async function startHolding(options: QuotaUpstreamOptions, quota = {}) {
  const used = new Map<string, number>();
  const upstream = await startQuotaUpstream({
    ...options,
    bucketOf: ({ headers: { authorization = "" } }) => {
      used.set(authorization, (used.get(authorization) ?? 0) + 1);
      return authorization;
    },
  });
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(), quota: { mode: "hold", ...quota }, retries: 0 } },
  });
  return { upstream, gateway, used };
}

test("Credentials without a known quota are used in turn", async () => {
  const { upstream, seen } = await startCounting();
  const { url } = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth: pool() } } });
  for (let i = 0; i < 6; i++) expect((await fetch(`${url}/proxy/api/`)).status).toBe(200);
  expect(seen).toEqual([...SECRETS, ...SECRETS]);
});

test("In observe mode, each request uses the credential with the most quota left", async () => {
  const left = new Map([
    [`Bearer ${SECRETS[0]}`, 10],
    [`Bearer ${SECRETS[1]}`, 14],
    [`Bearer ${SECRETS[2]}`, 12],
  ]);
  const upstream = await startUpstream((req, res) => {
    const { authorization = "" } = req.headers;
    const remaining = (left.get(authorization) ?? 0) - 1;
    left.set(authorization, remaining);
    res.setHeader("x-ratelimit-limit", "20").setHeader("x-ratelimit-remaining", String(remaining));
    res.setHeader("x-ratelimit-reset", "60");
    res.end();
  });
  const { url } = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth: pool() } } });
  for (let i = 0; i < 12; i++) await (await fetch(`${url}/proxy/api/`)).text();
  expect([...left.values()].sort()).toEqual([8, 8, 8]);
});

test("A refused credential rests, and the request is repeated with another one", async () => {
  const refused = new Set<string>([SECRETS[0]]);
  const { upstream, seen } = await startCounting(refused);
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(NAMES, { restSeconds: 1 }) } },
  });
  const ask = async (init: RequestInit = {}) => (await fetch(`${gateway.url}/proxy/api/`, init)).status;
  expect(await ask()).toBe(200);
  expect(seen).toEqual([SECRETS[0], SECRETS[1]]);
  for (let i = 0; i < 4; i++) await ask();
  expect(seen.slice(2)).not.toContain(SECRETS[0]);
  refused.clear();
  await eventually(async () => (await ask()) === 200 && seen.slice(2).includes(SECRETS[0]), "the end of the rest");
});

test("A request that cannot be repeated gets the 401, and the next one uses another credential", async () => {
  const { upstream, seen } = await startCounting(new Set([SECRETS[0]]));
  const { url } = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth: pool() } } });
  const post = () => fetch(`${url}/proxy/api/`, { method: "POST", body: "x" });
  expect((await post()).status).toBe(401);
  expect((await post()).status).toBe(200);
  expect(seen).toEqual([SECRETS[0], SECRETS[1]]);
});

test("While all credentials rest, requests are sent with the one whose rest ends first, and a refusal is relayed", async () => {
  const refused = new Set<string>(SECRETS);
  const { upstream, seen } = await startCounting(refused);
  const { url } = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth: pool() } } });
  const ask = async () => (await fetch(`${url}/proxy/api/`)).status;
  for (let i = 0; i < 4; i++) expect(await ask()).toBe(401);
  refused.delete(SECRETS[1]);
  await eventually(async () => (await ask()) === 200, "the one that is accepted again");
  expect(new Set(seen)).toEqual(new Set(SECRETS));
});

test("In hold mode, no request is refused while any credential has quota left", async () => {
  const { upstream, gateway, used } = await startHolding({ limit: 4, windowMs: 60_000 }, { maxWaitMs: 0 });
  const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).status;
  // Each credential finds out its limit.
  for (let i = 0; i < 3; i++) expect(await ask()).toBe(200);
  const statuses = await Promise.all(Array.from({ length: 12 }, ask));
  expect(statuses.filter((status) => status === 200)).toHaveLength(9);
  expect(upstream.counts).toEqual({ served: 12, refused: 0 });
  expect([...used.values()]).toEqual([4, 4, 4]);
  const { body } = await manage(gateway, "GET", "/quota");
  const { credentials } = body.services.find(({ service }: { service: string }) => service === "api");
  expect(credentials.map(({ source }: { source: string }) => source)).toEqual([...NAMES]);
});

test("In hold mode, a request that one credential gets 429 for is sent again with another one at once", async () => {
  const seen: string[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    seen.push(secret);
    if (secret === SECRETS[0]) return res.writeHead(429, { "retry-after": "600" }).end();
    return res.end();
  });
  const { url } = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(), quota: { mode: "hold" }, retries: 0 } },
  });
  for (let i = 0; i < 4; i++) expect((await fetch(`${url}/proxy/api/`)).status).toBe(200);
  expect(seen[0]).toBe(SECRETS[0]);
  expect(seen.slice(1)).not.toContain(SECRETS[0]);
  expect(seen).toHaveLength(5);
});

test("In hold mode, callers alternate in one queue for all credentials, and the upstream refuses none", async () => {
  const { upstream, gateway, used } = await startHolding({ limit: 2, windowMs: 300 }, { maxWaitMs: 20_000 });
  const keyOf = async (name: string) =>
    (await manage(gateway, "POST", "/keys", { name, permissions: ["api:*"] })).body.key as string;
  const keys = { greedy: await keyOf("greedy"), modest: await keyOf("modest") };
  const done: string[] = [];
  const ask = async (caller: keyof typeof keys) => {
    const response = await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": keys[caller] } });
    done.push(caller);
    return response.status;
  };
  const asked = [...Array.from({ length: 18 }, () => ask("greedy")), ...Array.from({ length: 6 }, () => ask("modest"))];
  expect(new Set(await Promise.all(asked))).toEqual(new Set([200]));
  expect(upstream.counts).toEqual({ served: 24, refused: 0 });
  expect([...used.values()].every((count) => count >= 4)).toBe(true);
  // At most one round of all credentials was sent to the greedy caller before the other one came.
  const before = done.slice(0, done.lastIndexOf("modest")).filter((caller) => caller === "greedy").length;
  expect(before).toBeLessThanOrEqual(6 + 6);
});

test("A reload that removes a credential keeps the queue, and the accounts of the others", async () => {
  const { upstream, gateway, used } = await startHolding({ limit: 2, windowMs: 1_200 }, { maxWaitMs: 20_000 });
  const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).status;
  for (let i = 0; i < 6; i++) expect(await ask()).toBe(200);
  const waiting = Array.from({ length: 4 }, ask);
  const shown = async () => {
    const { body } = await manage(gateway, "GET", "/quota");
    return body.services.find(({ service }: { service: string }) => service === "api");
  };
  await eventually(async () => (await shown()).waiting === 4, "four to wait");
  writeFileSync(
    join(gateway.directory, "services.json"),
    JSON.stringify({
      services: {
        api: { baseUrl: upstream.url, auth: pool(["TOKEN_A", "TOKEN_C"]), quota: { mode: "hold", maxWaitMs: 0 } },
      },
    }),
  );
  expect((await gateway.reload()).isDone).toBe(true);
  // The accounts are those from before the reload: used up.
  expect(await ask()).toBe(429);
  expect(new Set(await Promise.all(waiting))).toEqual(new Set([200]));
  expect(upstream.counts.refused).toBe(0);
  const ofRemoved = used.get(`Bearer ${SECRETS[1]}`);
  for (let i = 0; i < 3; i++) await ask();
  expect(used.get(`Bearer ${SECRETS[1]}`)).toBe(ofRemoved);
});

test("A pool works without some of its secrets, with a warning and a finding; without all of them nothing is sent", async () => {
  const { upstream, seen } = await startCounting();
  const names = ["TOKEN_A", "TOKEN_UNSET", "TOKEN_B", "TOKEN_TWIN"];
  const gateway = await startGateway({
    env: { ...env, TOKEN_TWIN: SECRETS[0] },
    services: {
      some: { baseUrl: upstream.url, auth: pool(names) },
      none: { baseUrl: upstream.url, auth: pool(["TOKEN_UNSET", "TOKEN_NONE"]) },
      open: { baseUrl: upstream.url, auth: pool(["TOKEN_UNSET", "TOKEN_NONE"], { required: false }) },
    },
  });
  const ask = (service: string) => fetch(`${gateway.url}/proxy/${service}/`);
  for (let i = 0; i < 4; i++) expect((await ask("some")).status).toBe(200);
  expect(new Set(seen)).toEqual(new Set([SECRETS[0], SECRETS[1]]));
  const refused = await ask("none");
  expect([refused.status, refused.headers.get("x-proxy-error")]).toEqual([401, "UPSTREAM_CREDENTIAL_MISSING"]);
  expect((await ask("open")).status).toBe(200);
  expect(seen.at(-1)).toBe("");
  const { body } = await manage(gateway, "GET", "/diagnostics");
  const check = body.checks.find(({ id }: { id: string }) => id === "credential:some");
  expect(check).toMatchObject({
    status: "warn",
    summary: expect.stringContaining("of[1] of some, TOKEN_UNSET, is not set"),
  });
  expect(check.evidence.of.map(({ state }: { state: string }) => state)).toEqual(["ready", "missing", "ready", "twin"]);
});

test("A changed token file changes one credential of a pool, and the others stay as they are", async () => {
  const { upstream, seen } = await startCounting();
  const gateway = await startGateway({
    env,
    services: {
      api: {
        baseUrl: upstream.url,
        auth: {
          type: "pool",
          of: [
            { type: "bearer", tokenFile: "a" },
            { type: "bearer", tokenFile: "b" },
          ],
        },
      },
    },
  });
  const write = (name: string, secret: string) =>
    writeFileSync(join(gateway.directory, name), `${secret}\n`, { mode: 0o600 });
  const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).status;
  expect(await ask()).toBe(401);
  write("a", "secret-of-a-0123");
  write("b", "Bearer secret-of-b-0123");
  expect((await gateway.reload()).isDone).toBe(true);
  expect([await ask(), await ask()]).toEqual([200, 200]);
  write("a", "new-secret-of-a-0123");
  await gateway.refreshTokens();
  expect([await ask(), await ask()]).toEqual([200, 200]);
  expect(new Set(seen)).toEqual(new Set(["secret-of-a-0123", "secret-of-b-0123", "new-secret-of-a-0123"]));
});

test("Explain, status and metrics show each credential and never a secret, and a secret that comes back is masked", async () => {
  const refused = new Set<string>([SECRETS[0]]);
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    res.statusCode = refused.has(secret) ? 401 : 200;
    res.setHeader("x-echo", secret).end(SECRETS.join());
  });
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(), scrubBodies: true } },
  });
  const response = await fetch(`${gateway.url}/proxy/api/`);
  expect([response.status, response.headers.get("x-echo")]).toEqual([200, "***"]);
  expect(await response.text()).not.toContain("secret");
  const explained = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/" });
  const { pool: shown } = explained.body.credential;
  expect(shown).toMatchObject({ chosen: 2, reason: expect.stringContaining("not known") });
  expect(shown.of.map(({ state }: { state: string }) => state)).toEqual(["resting", "ready", "ready"]);
  // An explanation chooses nothing.
  const again = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/" });
  expect(again.body.credential.pool).toEqual(shown);
  const status = await (await fetch(`${gateway.url}/status`, { headers: { "x-api-key": MANAGEMENT_KEY } })).json();
  const { credential } = (status as { services: { key: string; credential: object }[] }).services.find(
    ({ key }) => key === "api",
  ) as { credential: { of: object[] } };
  expect(credential.of[0]).toMatchObject({ source: "TOKEN_A", state: "resting", refusals: 1 });
  const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: { "x-api-key": MANAGEMENT_KEY } })).text();
  expect(metrics).toContain('byteproxy_pool_credentials_resting{service="api"} 1');
  const texts = [JSON.stringify([explained.body, shown, status]), metrics, gateway.logText()];
  for (const secret of SECRETS) for (const text of texts) expect(text).not.toContain(secret);
  expect(gateway.lines()).toContainEqual(
    expect.objectContaining({ service: "api", source: "TOKEN_A", restMs: 300_000 }),
  );
});

test("A stored response belongs to the credential that received it, and only that one validates it", async () => {
  const asked: { secret: string; tag: string | undefined }[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    const tag = req.headers["if-none-match"];
    asked.push({ secret, tag });
    // The entity tags of all accounts are equal, and their responses are not.
    res.writeHead(tag === undefined ? 200 : 304, { etag: '"1"', "cache-control": "private, max-age=0" });
    res.end(tag === undefined ? `seen by ${SECRETS.indexOf(secret as (typeof SECRETS)[number])}` : undefined);
  });
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth: pool(), cache: true } } });
  const ask = async (path: string) => (await fetch(`${gateway.url}/proxy/api/${path}`)).text();
  expect(await ask("a")).toBe("seen by 0");
  expect(await ask("b")).toBe("seen by 1");
  expect(await ask("a")).toBe("seen by 0");
  expect(await ask("b")).toBe("seen by 1");
  expect(asked.slice(2)).toEqual([
    { secret: SECRETS[0], tag: '"1"' },
    { secret: SECRETS[1], tag: '"1"' },
  ]);
});

test("A stored response whose credential rests is not validated with another one", async () => {
  const refused = new Set<string>();
  const asked: (readonly [string, string | undefined])[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    const tag = req.headers["if-none-match"];
    asked.push([secret, tag]);
    if (refused.has(secret)) return res.writeHead(401).end();
    res.writeHead(tag === undefined ? 200 : 304, { etag: '"1"', "cache-control": "private, max-age=0" });
    return res.end(tag === undefined ? `seen by ${SECRETS.indexOf(secret as (typeof SECRETS)[number])}` : undefined);
  });
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(["TOKEN_A", "TOKEN_B"]), cache: true } },
  });
  const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).text();
  expect(await ask()).toBe("seen by 0");
  refused.add(SECRETS[0]);
  // The 304 of the second one is about its own response.
  expect(await ask()).toBe("seen by 1");
  expect(await ask()).toBe("seen by 1");
  expect(asked.at(-1)).toEqual([SECRETS[1], '"1"']);
});

test("A request does not wait for the credential of a stored response", async () => {
  const left = new Map<string, number>(SECRETS.map((secret) => [secret, secret === SECRETS[0] ? 1 : 5]));
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    const remaining = (left.get(secret) ?? 0) - 1;
    left.set(secret, remaining);
    res.setHeader("x-ratelimit-limit", "5").setHeader("x-ratelimit-remaining", String(remaining));
    res.setHeader("x-ratelimit-reset", "600");
    const account = SECRETS.indexOf(secret as (typeof SECRETS)[number]);
    const isSame = req.headers["if-none-match"] === `"${account}"`;
    res.writeHead(isSame ? 304 : 200, { etag: `"${account}"`, "cache-control": "private, max-age=0" });
    res.end(isSame ? undefined : `seen by ${account}`);
  });
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: pool(), cache: true, quota: { mode: "hold", maxWaitMs: 0 } } },
  });
  const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).text();
  expect(await ask()).toBe("seen by 0");
  expect(await ask()).toBe("seen by 1");
  expect(left.get(SECRETS[0])).toBe(0);
});

test("A WebSocket keeps the credential of its handshake for its messages", async () => {
  const echo = await startWebSocketEcho();
  const auth = pool();
  const { url } = await startGateway({
    env,
    services: { api: { baseUrl: echo.url, auth, ws: { inject: "discord-identify" } } },
  });
  for (const secret of [...SECRETS, SECRETS[0]]) {
    const socket = new WebSocket(`${url.replace("http", "ws")}/proxy/api/`);
    await once(socket, "open");
    expect(echo.requests.at(-1)?.headers.authorization).toBe(`Bearer ${secret}`);
    for (let i = 0; i < 2; i++) {
      socket.send(JSON.stringify({ op: 2, d: { token: "{token}" } }));
      const [message] = await once(socket, "message");
      expect(JSON.parse(String(message)).d.token).toBe(secret);
    }
    socket.close();
    await once(socket, "close");
  }
});

test("A credential whose token endpoint fails is passed over, and the others serve every request", async () => {
  const { upstream, seen } = await startCounting();
  const endpoint = await startTokenEndpoint(({ form }, _count, res) =>
    form.get("client_id") === "broken"
      ? refuseToken(res, 500, { error: "server_error" })
      : { access_token: `token-of-${form.get("client_id")}-0123`, token_type: "bearer", expires_in: 3600 },
  );
  const client = (clientId: string) => ({
    type: "oauth2" as const,
    grant: "client_credentials" as const,
    tokenUrl: endpoint.url,
    clientId,
    clientSecretEnvVar: "TOKEN_A",
    clientAuth: "post" as const,
  });
  const auth = { type: "pool" as const, of: ["one", "broken", "two"].map(client) };
  const gateway = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth } },
  });
  for (let i = 0; i < 6; i++) expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
  expect(new Set(seen)).toEqual(new Set(["token-of-one-0123", "token-of-two-0123"]));
  const explained = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/" });
  expect(explained.body.credential.pool.of[1]).toMatchObject({ state: "unavailable" });
});

test("Over REST a pool may be used only with the members and the origins that the services file has", async () => {
  const { upstream } = await startCounting();
  const gateway = await startGateway({
    env: { ...env, REST_SECRETS: `TOKEN_C@${upstream.url}` },
    services: { api: { baseUrl: upstream.url, auth: pool(["TOKEN_A", "TOKEN_B"]) } },
  });
  const put = async (auth: object, baseUrl = upstream.url) =>
    (await manage(gateway, "PUT", "/services/other", { baseUrl, auth })).status;
  expect(await put(pool(["TOKEN_A", "TOKEN_B"]))).toBe(201);
  expect(await put(pool(["TOKEN_B", "TOKEN_A"]))).toBe(403);
  expect(await put(pool(["TOKEN_A", "TOKEN_B", "TOKEN_C"]))).toBe(403);
  expect(await put(pool(["TOKEN_A", "TOKEN_B"], { restSeconds: 1 }))).toBe(403);
  expect(await put(pool(["TOKEN_A", "TOKEN_B"]), "http://127.0.0.1:9/")).toBe(403);
  // One credential of the pool by itself goes where the file sends it.
  expect(await put({ type: "bearer", tokenEnvVar: "TOKEN_A" })).toBe(200);
  expect(await put({ type: "bot", tokenEnvVar: "TOKEN_A" })).toBe(403);
});
