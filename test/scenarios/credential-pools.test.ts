/** Several credentials for one upstream, over real sockets: which one each attempt uses, who waits, and what a refusal costs. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { type QuotaUpstreamOptions, startQuotaUpstream } from "../support/quota-upstream.ts";
import { startUpstream } from "../support/upstream.ts";

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

test("In hold mode, callers alternate in one queue, and every window of every credential is used", async () => {
  const { upstream, gateway, used } = await startHolding({ limit: 3, windowMs: 400 }, { maxWaitMs: 10_000 });
  const done: string[] = [];
  const ask = async (caller: string) => {
    const response = await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-caller": caller } });
    done.push(caller);
    return response.status;
  };
  const statuses = await Promise.all(Array.from({ length: 40 }, () => ask("one")));
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(upstream.counts.refused).toBe(0);
  expect([...used.values()].every((count) => count >= 9)).toBe(true);
});
