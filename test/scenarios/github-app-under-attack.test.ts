/** What an API that issues installation tokens could do to the gateway with its responses, and what a change of the credential does. */
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { APP_ID, startGithub } from "../support/github-app.ts";
import { piecesOf, pkcs1Of, rsaPair } from "../support/keys.ts";
import { everythingShown } from "../support/shown.ts";
import { startUpstream } from "../support/upstream.ts";

const pair = rsaPair();
const env = { EGRESS_ALLOW_PRIVATE: "true", MANAGEMENT_API_KEY: MANAGEMENT_KEY, APP_KEY: pkcs1Of(pair) };
const app = { type: "github-app", appId: APP_ID, privateKeyEnvVar: "APP_KEY" } as const;
const later = () => new Date(Date.now() + 3_600_000).toISOString();
const issue = (body: object) => (res: ServerResponse) => {
  res.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify(body));
};

test("No response gives a token that cannot be used, and the app's own token is sent nowhere else", async () => {
  const github = await startGithub(pair);
  const elsewhere = await startUpstream();
  const redirect = (status: number) => (res: ServerResponse) => {
    res.writeHead(status, { location: `${elsewhere.url}/app/installations/7/access_tokens` }).end("{}");
  };
  const answers: [string, (res: ServerResponse) => void, string][] = [
    ...[301, 302, 307, 308].map((status): [string, (res: ServerResponse) => void, string] => [
      ...([`a redirect with ${status}`, redirect(status)] as const),
      "has moved: redirects are not followed",
    ]),
    ["no end", issue({ token: "ghs_0123456789" }), "without a valid expires_at"],
    ["an end without a zone", issue({ token: "ghs_0123456789", expires_at: "2999-01-01T00:00:00" }), "expires_at"],
    ["an end that is a year", issue({ token: "ghs_0123456789", expires_at: "2999" }), "expires_at"],
    ["an end that is a number", issue({ token: "ghs_0123456789", expires_at: 32503680000 }), "expires_at"],
    ["an end in the past", issue({ token: "ghs_0123456789", expires_at: "2020-01-01T00:00:00Z" }), "already expired"],
    ["a token with a line break", issue({ token: "ghs_0\r\nX-Evil: 1", expires_at: later() }), "cannot carry"],
    ["a token that is empty", issue({ token: "", expires_at: later() }), "cannot carry"],
    ["a token that is a list", issue({ token: ["ghs_0123456789"], expires_at: later() }), "without a valid token"],
    ["a token that is too long", issue({ token: "x".repeat(20_000), expires_at: later() }), "too long"],
    ["a key of the gateway", issue({ token: MANAGEMENT_KEY, expires_at: later() }), "a key of the gateway"],
  ];
  const ids = answers.map((_, index) => index + 1);
  const { url } = await startGateway({
    env,
    services: Object.fromEntries([
      ...ids.map((id) => [`s${id}`, { baseUrl: github.baseUrl, auth: { ...app, installationId: id } }]),
      ["moved", { baseUrl: github.baseUrl, auth: { ...app, owner: "renamed" } }],
    ]),
  });
  const ask = async (key: string) => {
    const response = await fetch(`${url}/proxy/${key}/repos`);
    return [response.status, response.headers.get("x-proxy-error"), await response.text()] as const;
  };
  for (const [index, [name, answer, reason]] of answers.entries()) {
    github.state.answer = answer;
    const [status, code, text] = await ask(`s${index + 1}`);
    expect([name, status, code]).toEqual([name, 502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    expect(text).toContain(reason);
    expect(text).not.toMatch(/ghs_|X-Evil|eyJ/);
  }
  github.state.answer = redirect(301);
  expect((await ask("moved"))[2]).toContain("the owner has moved: redirects are not followed");
  expect(elsewhere.requests).toEqual([]);
  expect(github.asked.filter((line) => line.includes("renamed"))).toEqual(["GET /users/renamed/installation"]);
});

test("A reload with other permissions, repositories or another key uses no token of before, and an equal one keeps it", async () => {
  const github = await startGithub(pair);
  github.installations.set("acme", { id: 7, kind: "orgs" });
  const withAuth = (auth: object) => ({ services: { api: { baseUrl: github.baseUrl, auth: { ...app, ...auth } } } });
  const gateway = await startGateway({ env, services: withAuth({ installationId: 7 }).services as never });
  const used = new Set<string | undefined>();
  const ask = async () => {
    expect((await fetch(`${gateway.url}/proxy/api/repos`)).status).toBe(200);
    used.add(github.requests.at(-1)?.headers.authorization);
  };
  await ask();
  const changes: [object, number][] = [
    [{ installationId: 7 }, 1],
    [{ installationId: 7, permissions: { contents: "read" } }, 2],
    [{ installationId: 7, permissions: { contents: "write" } }, 3],
    [{ installationId: 7, permissions: { contents: "write" }, repositories: ["tool"] }, 4],
    [{ owner: "acme", permissions: { contents: "write" }, repositories: ["tool"] }, 5],
  ];
  for (const [auth, tokens] of changes) {
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify(withAuth(auth)));
    expect((await gateway.reload()).isDone).toBe(true);
    await ask();
    expect([auth, used.size]).toEqual([auth, tokens]);
  }
});

test("A token that is revoked while it is in use is replaced once: a GET is repeated, and a POST is not", async () => {
  const github = await startGithub(pair);
  github.installations.set("acme", { id: 7, kind: "orgs" });
  const { url } = await startGateway({
    env,
    services: { api: { baseUrl: github.baseUrl, auth: { ...app, installationId: 7 } } },
  });
  const ask = async (method: string) => (await fetch(`${url}/proxy/api/repos`, { method })).status;
  expect(await ask("GET")).toBe(200);
  github.tokens.clear();
  const before = github.requests.length;
  expect(await ask("POST")).toBe(401);
  expect(await Promise.all([ask("GET"), ask("GET"), ask("GET")])).toEqual([200, 200, 200]);
  expect(github.asked).toHaveLength(2);
  const posts = github.requests.slice(before).filter(({ method, url: path }) => method === "POST" && path === "/repos");
  expect(posts).toHaveLength(1);
});

test("Installations of an app in a pool are accounts of their own, one of them twice is a twin, and nothing of them is shown", async () => {
  const github = await startGithub(pair);
  github.installations.set("acme", { id: 7, kind: "orgs" }).set("other", { id: 8, kind: "orgs" });
  const read = { contents: "read" } as const;
  const entry = (installationId: number, more = {}) => ({ ...app, installationId, ...more });
  const auth = { type: "pool", of: [entry(7), entry(8), entry(7, { permissions: read })] } as const;
  const gateway = await startGateway({ env, services: { api: { baseUrl: github.baseUrl, auth: auth as never } } });
  for (let i = 0; i < 4; i++) {
    expect((await fetch(`${gateway.url}/proxy/api/repos?token=ghs_installation`)).status).toBe(200);
  }
  const used = github.requests
    .filter(({ url }) => url?.startsWith("/repos"))
    .map(({ headers }) => headers.authorization);
  expect(new Set(used).size).toBe(2);
  expect(new Set(github.asked)).toEqual(
    new Set(["POST /app/installations/7/access_tokens", "POST /app/installations/8/access_tokens"]),
  );
  const shown = await everythingShown(gateway, ["api"]);
  expect(shown).toMatch(/"state":\s*"twin"/);
  const tokens = [...github.tokens.keys()];
  expect([...piecesOf(pair), ...tokens, "eyJhbGci"].filter((piece) => shown.includes(piece))).toEqual([]);
});
