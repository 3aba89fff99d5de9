/** What one caller, one credential or one token endpoint could do to a pool that others use, over real sockets. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { refuseToken, startTokenEndpoint } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRETS = ["first-secret-0123", "second-secret-0123", "third-secret-0123"] as const;
const NAMES = ["TOKEN_A", "TOKEN_B", "TOKEN_C"] as const;
const env: Record<string, string> = {
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
  EGRESS_ALLOW_PRIVATE: "true",
  ...Object.fromEntries(NAMES.map((name, index) => [name, SECRETS[index] as string])),
};
const pool = (names: readonly string[] = NAMES) =>
  ({ type: "pool", of: names.map((tokenEnvVar) => ({ type: "bearer", tokenEnvVar }) as const) }) as const;

/** Tokens are named after their client. */
const client = (tokenUrl: string) => (clientId: string) =>
  ({
    ...({ type: "oauth2", grant: "client_credentials", clientAuth: "post", tokenUrl, clientId } as const),
    clientSecretEnvVar: "TOKEN_A",
  }) as const;

/** Counts the requests of each secret. @param refuses for a path and a secret. */
async function startCounting(refuses: (path: string, secret: string) => boolean = () => false) {
  const seen: string[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    seen.push(secret);
    req.resume();
    res.statusCode = refuses(req.url ?? "", secret) ? 401 : 200;
    res.end(secret);
  });
  return { upstream, seen };
}

test("A token endpoint that never responds delays no request that another credential can serve", async () => {
  const { upstream, seen } = await startCounting();
  const endpoint = await startTokenEndpoint(({ form }) => {
    const id = form.get("client_id");
    return id === "hanging" ? undefined : { access_token: `token-of-${id}-0123`, token_type: "bearer", expires_in: 60 };
  });
  const of = ["hanging", "one", "two"].map(client(endpoint.url));
  const { url } = await startGateway({
    env,
    services: Object.fromEntries(
      (["observe", "hold", "off"] as const).map((mode) => [
        mode,
        { baseUrl: upstream.url, auth: { type: "pool", of }, quota: { mode }, timeoutMs: 4_000 },
      ]),
    ),
  });
  for (const mode of ["observe", "hold", "off"]) {
    const asked = Array.from({ length: 6 }, async () => (await fetch(`${url}/proxy/${mode}/`)).status);
    expect(await Promise.all(asked)).toEqual([200, 200, 200, 200, 200, 200]);
    for (let i = 0; i < 4; i++) expect((await fetch(`${url}/proxy/${mode}/`)).status).toBe(200);
    expect(new Set(seen.splice(0))).toEqual(new Set(["token-of-one-0123", "token-of-two-0123"]));
  }
  expect(endpoint.requests.filter(({ form }) => form.get("client_id") === "hanging")).toHaveLength(1);
});

test("A pool that is not required sends requests without a credential while none can be obtained", async () => {
  const { upstream, seen } = await startCounting(() => true);
  const endpoint = await startTokenEndpoint((_request, _count, res) =>
    refuseToken(res, 500, { error: "server_error" }),
  );
  const auth = { type: "pool", of: ["one", "two"].map(client(endpoint.url)), required: false } as const;
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, auth } } });
  for (let i = 0; i < 3; i++) expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(401);
  expect(seen).toEqual(["", "", ""]);
  // The upstream refused no credential.
  const status = await (await fetch(`${gateway.url}/status`, { headers: { "x-api-key": MANAGEMENT_KEY } })).json();
  const { services } = status as { services: { key: string; credential: { of: object[] } }[] };
  const shown = services.find(({ key }) => key === "api")?.credential.of;
  expect(shown).toEqual([expect.objectContaining({ refusals: 0 }), expect.objectContaining({ refusals: 0 })]);
});

test("A caller whose requests are refused lets no credential rest for others, and a second one shows that it is refused", async () => {
  const revoked = new Set<string>();
  const { upstream, seen } = await startCounting((path, secret) => path === "/forbidden" || revoked.has(secret));
  const gateway = await startGateway({
    env,
    services: {
      api: { baseUrl: upstream.url, auth: pool() },
      held: { baseUrl: upstream.url, auth: pool(), quota: { mode: "hold" } },
    },
  });
  const keyOf = async (name: string) =>
    (await manage(gateway, "POST", "/keys", { name, permissions: ["*:*"] })).body.key as string;
  const [hostile, modest, other] = [await keyOf("hostile"), await keyOf("modest"), await keyOf("other")];
  const ask = async (path: string, key: string, method = "GET") =>
    (await fetch(`${gateway.url}/proxy/${path}`, { method, headers: { "x-api-key": key } })).status;
  for (const service of ["api", "held"]) {
    revoked.clear();
    for (let i = 0; i < 6; i++) expect(await ask(`${service}/forbidden`, hostile, i % 2 ? "POST" : "GET")).toBe(401);
    seen.length = 0;
    for (let i = 0; i < 6; i++) expect(await ask(`${service}/`, modest)).toBe(200);
    expect([...seen].sort()).toEqual([...SECRETS, ...SECRETS].sort());
    // It is really revoked: after the second caller's refusal, no request of a third one is sent with it.
    revoked.add(SECRETS[1]);
    for (let i = 0; i < 3; i++) expect(await ask(`${service}/`, modest)).toBe(200);
    seen.length = 0;
    for (let i = 0; i < 6; i++) expect(await ask(`${service}/`, other)).toBe(200);
    expect(seen).not.toContain(SECRETS[1]);
  }
  const lines = gateway.lines().filter(({ callers }) => callers === "all");
  expect(lines).toEqual([
    expect.objectContaining({ service: "api", source: "TOKEN_B" }),
    expect.objectContaining({ service: "held", source: "TOKEN_B" }),
  ]);
});

test("Requests that wait are sent as soon as a refused credential was renewed", async () => {
  const refused = new Set<string>();
  let minted = 0;
  const endpoint = await startTokenEndpoint(async ({ form }) => {
    if (minted >= 2) await sleep(300);
    return { access_token: `token-${form.get("client_id")}-${++minted}`, token_type: "bearer", expires_in: 3_600 };
  });
  const seen: string[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    seen.push(secret);
    req.resume();
    if (refused.has(secret)) return res.writeHead(401).end();
    // The first client has nothing left after one request for four seconds, the second has enough.
    const remaining = secret.includes("small") ? "0" : "50";
    res.setHeader("x-ratelimit-limit", "60").setHeader("x-ratelimit-remaining", remaining);
    return res.setHeader("x-ratelimit-reset", "4").end();
  });
  const of = ["small", "large"].map(client(endpoint.url));
  const { url } = await startGateway({
    env,
    services: { api: { baseUrl: upstream.url, auth: { type: "pool", of }, quota: { mode: "hold", maxWaitMs: 5_000 } } },
  });
  const ask = async (method = "GET") => (await fetch(`${url}/proxy/api/`, { method })).status;
  while (new Set(seen).size < 2) expect(await ask()).toBe(200);
  for (const secret of seen) if (secret.includes("large")) refused.add(secret);
  // Cannot be sent again: the credential rests until its renewal.
  expect(await ask("POST")).toBe(401);
  expect(await ask()).toBe(200);
  expect(seen.at(-1)).toBe("token-large-3");
});

test("What is known of each credential survives a restart that changes their order, and a reset serves requests that wait", async () => {
  const folder = tempFolder();
  const left = new Map<string, number>(SECRETS.map((secret, index) => [secret, index === 2 ? 3 : 1]));
  const seen: string[] = [];
  const upstream = await startUpstream((req, res) => {
    const secret = (req.headers.authorization ?? "").replace("Bearer ", "");
    seen.push(secret);
    const remaining = (left.get(secret) ?? 0) - 1;
    left.set(secret, remaining);
    if (remaining < 0) return res.writeHead(429, { "retry-after": "600" }).end();
    res.setHeader("x-ratelimit-limit", "9").setHeader("x-ratelimit-remaining", String(remaining));
    return res.setHeader("x-ratelimit-reset", "600").end();
  });
  const open = async (names: readonly string[]) =>
    startGateway({
      env,
      services: { api: { baseUrl: upstream.url, auth: pool(names), quota: { mode: "hold", maxWaitMs: 700_000 } } },
      stores: await openFileStores(folder, isStoredService, isStoredKey),
    });
  const ask = async ({ url }: TestGateway) => (await fetch(`${url}/proxy/api/`)).status;
  const before = await open(NAMES);
  for (let i = 0; i < 3; i++) expect(await ask(before)).toBe(200);
  await before.close();
  const after = await open([...NAMES].reverse());
  seen.length = 0;
  for (let i = 0; i < 2; i++) expect(await ask(after)).toBe(200);
  expect(seen).toEqual([SECRETS[2], SECRETS[2]]);
  const waiting = [ask(after), ask(after)];
  const shown = async () =>
    (await manage(after, "GET", "/quota")).body.services.find(({ service }: { service: string }) => service === "api")
      .waiting;
  await eventually(async () => (await shown()) === 2, "two to wait");
  for (const secret of SECRETS) left.set(secret, 9);
  expect((await manage(after, "POST", "/services/api/quota/reset")).status).toBe(204);
  expect(await Promise.all(waiting)).toEqual([200, 200]);
});
