/** Credentials of type github-app: a strict stand-in for GitHub, which issues tokens and is the upstream that they are for. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { APP_ID, type GithubAnswer, startGithub } from "../support/github-app.ts";
import { piecesOf, pkcs1Of, rsaPair } from "../support/keys.ts";
import { everythingShown } from "../support/shown.ts";

const pair = rsaPair();
const env = {
  EGRESS_ALLOW_PRIVATE: "true",
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
  APP_KEY: pkcs1Of(pair).replaceAll("\n", "\\n"),
  OTHER_KEY: pkcs1Of(rsaPair()),
};
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };
const app = { type: "github-app", appId: APP_ID, privateKeyEnvVar: "APP_KEY" } as const;

async function ask({ url }: TestGateway, key: string) {
  const response = await fetch(`${url}/proxy/${key}/repos/acme/tool`);
  return { status: response.status, text: await response.text() };
}

const refresh = ({ url }: TestGateway, key: string) =>
  fetch(`${url}/manage/services/${key}/credential/refresh`, { method: "POST", headers: manage });

test("A token of the installation is fetched below the base URL, with its repositories and permissions, and shown nowhere", async () => {
  const github = await startGithub(pair, "/api/v3");
  github.installations.set("acme", { id: 7, kind: "orgs" });
  const limited = { repositories: ["tool", "site"], permissions: { contents: "read" as const } };
  const gateway = await startGateway({
    env,
    services: {
      all: { baseUrl: github.baseUrl, auth: { ...app, installationId: 7 } },
      some: { baseUrl: github.baseUrl, auth: { ...app, installationId: "7", ...limited } },
    },
  });
  for (const key of ["all", "all", "some"]) expect((await ask(gateway, key)).status).toBe(200);
  expect(github.asked).toEqual(Array(2).fill("POST /app/installations/7/access_tokens"));
  expect(github.bodies).toEqual([{}, limited]);
  expect([...github.tokens.values()].at(-1)).toEqual(limited);

  const status = await fetch(`${gateway.url}/status`, { headers: manage });
  const { credential } = JSON.parse(await status.text()).services.find(({ key }: { key: string }) => key === "some");
  expect(credential).toMatchObject({ type: "github-app", source: "APP_KEY", token: { scope: "contents:read" } });
  expect(Math.abs(Date.parse(credential.token.expiresAt) - Date.now() - 3_600_000)).toBeLessThan(60_000);

  const shown = await everythingShown(gateway, ["all", "some"]);
  expect(shown).toContain("contents:read");
  expect([...piecesOf(pair), "ghs_", "eyJhbGci"].filter((piece) => shown.includes(piece))).toEqual([]);
});

test("The installation of an owner is looked up once, and again when GitHub does not know it any more", async () => {
  const github = await startGithub(pair);
  github.installations.set("octocat", { id: 1, kind: "users" }).set("acme", { id: 2, kind: "orgs" });
  const gateway = await startGateway({
    env,
    services: {
      user: { baseUrl: github.baseUrl, auth: { ...app, owner: "octocat" } },
      org: { baseUrl: github.baseUrl, auth: { ...app, owner: "acme" } },
    },
  });
  for (const key of ["user", "org"]) expect((await ask(gateway, key)).status).toBe(200);
  const lookups = ["GET /users/acme/installation", "GET /orgs/acme/installation"];
  expect(github.asked).toEqual([
    "GET /users/octocat/installation",
    "POST /app/installations/1/access_tokens",
    ...lookups,
    "POST /app/installations/2/access_tokens",
  ]);
  github.asked.length = 0;
  expect((await refresh(gateway, "org")).status).toBe(204);
  expect(github.asked).toEqual(["POST /app/installations/2/access_tokens"]);

  // The owner removes the app, and installs it again.
  github.asked.length = 0;
  github.installations.set("acme", { id: 3, kind: "orgs" });
  expect((await refresh(gateway, "org")).status).toBe(204);
  const posts = [2, 3].map((id) => `POST /app/installations/${id}/access_tokens`);
  expect(github.asked).toEqual([posts[0], ...lookups, posts[1]]);
  expect((await ask(gateway, "org")).status).toBe(200);

  github.installations.set("acme", { id: 3, kind: "orgs", suspended: true });
  expect(await (await refresh(gateway, "org")).text()).toContain("the installation is suspended");
  github.installations.delete("acme");
  expect(await (await refresh(gateway, "org")).text()).toContain(
    "responded with 404 (the owner has not installed this",
  );
  // A token that has not expired stays in use.
  expect((await ask(gateway, "org")).status).toBe(200);
});

/** The reason that is shown for a refusal of GitHub: by what is configured, or by what GitHub responds with. */
const refusals: readonly [string, object, GithubAnswer | undefined, string | RegExp][] = [
  [
    "another key",
    { privateKeyEnvVar: "OTHER_KEY" },
    undefined,
    "401 (the app is not known by appId, or the private key",
  ],
  ["another app", { appId: 1 }, undefined, "401 (the app is not known by appId, or the private key is not one of its"],
  ["an unknown installation", { installationId: 9 }, undefined, "404 (this app has no such installation, or baseUrl"],
  ["an unknown repository", { repositories: ["unknown"] }, undefined, "422 (the installation does not have all of"],
  ["a suspended installation", { installationId: 8 }, undefined, "cannot issue tokens: the installation is suspended"],
  [
    "a clock that is ahead",
    {},
    responding(401, () => ({ date: inSeconds(-900) })),
    /clock of this machine is 9\d\d seconds ahead/,
  ],
  [
    "a clock that is behind",
    {},
    responding(401, () => ({ date: inSeconds(900) })),
    /clock of this machine is (?:8\d\d|900) seconds behind/,
  ],
  ["a forbidden app", {}, responding(403), "403 (the app may not do this)."],
  [
    "a used limit",
    {},
    responding(403, () => ({
      "x-ratelimit-remaining": "0",
      "x-ratelimit-reset": `${Math.ceil(Date.now() / 1_000) + 90}`,
    })),
    "403 (its rate limit is used up).",
  ],
  ["a secondary limit", {}, responding(429, () => ({ "retry-after": "60" })), "429 (its rate limit is used up)."],
  ["a failure", {}, responding(502), "responded with 502."],
];

function responding(status: number, headers: () => Record<string, string> = () => ({})): GithubAnswer {
  return (res) => res.writeHead(status, headers()).end('{"message":"private-text"}');
}

function inSeconds(seconds: number): string {
  return new Date(Date.now() + seconds * 1_000).toUTCString();
}

test("Requests get 502 with the reason for each refusal, and without the text of the response", async () => {
  const github = await startGithub(pair);
  github.installations.set("acme", { id: 7, kind: "orgs" }).set("old", { id: 8, kind: "orgs", suspended: true });
  const services = refusals.map(([, auth], at) => [
    `api-${at}`,
    // No two of them share a token.
    {
      baseUrl: github.baseUrl,
      auth: { ...app, installationId: 7, permissions: { [`p${"x".repeat(at)}`]: "read" }, ...auth },
    },
  ]);
  const gateway = await startGateway({ env, services: Object.fromEntries(services) });
  for (const [at, [name, , answer, reason]] of refusals.entries()) {
    github.state.answer = answer;
    const refused = await ask(gateway, `api-${at}`);
    expect([refused.status, JSON.parse(refused.text).code], name).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    expect(refused.text, name).toMatch(reason);
    expect(refused.text, name).not.toContain("private-text");
    // At once, without another request.
    expect((await ask(gateway, `api-${at}`)).status, name).toBe(502);
    expect(github.requests, name).toHaveLength(at + 1);
  }
  expect(github.asked).toHaveLength(refusals.length);
  const shown = await everythingShown(gateway, ["api-0"]);
  expect(shown).toContain("the installation is suspended");
  expect([...piecesOf(pair), "private-text", "eyJhbGci"].filter((piece) => shown.includes(piece))).toEqual([]);
});

test("The endpoint of a server with a private authority is reached as the upstream is", async () => {
  const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
  const files = { cert: readFileSync(file("localhost.pem")), key: readFileSync(file("localhost-key.pem")) };
  const github = await startGithub(pair, "/api/v3", createServer(files));
  github.installations.set("acme", { id: 7, kind: "orgs" });
  const baseUrl = `https://localhost:${github.port}/api/v3/`;
  const auth = { ...app, installationId: 7 };
  const gateway = await startGateway({
    env,
    services: { known: { baseUrl, auth, tls: { caFile: file("ca.pem") } }, unknown: { baseUrl, auth } },
  });
  expect((await ask(gateway, "known")).status).toBe(200);
  expect((await ask(gateway, "unknown")).text).toContain("could not be used");
});

test("A service added over REST has the credential with the auth and the base URL of a service of the file only", async () => {
  const github = await startGithub(pair);
  github.installations.set("acme", { id: 7, kind: "orgs" });
  const api = { baseUrl: github.baseUrl, auth: { ...app, installationId: 7 } };
  const rest = { REST_SECRETS: "APP_KEY@http://127.0.0.1:9" };
  const gateway = await startGateway({ env: { ...env, ...rest }, services: { api } });
  const put = async (service: object) => {
    const body = JSON.stringify(service);
    const headers = { ...manage, "content-type": "application/json" };
    const response = await fetch(`${gateway.url}/manage/services/copy`, { method: "PUT", headers, body });
    return [response.status, JSON.parse(await response.text()).code];
  };
  for (const change of [
    { baseUrl: `${github.baseUrl}pages/` },
    { baseUrl: "http://127.0.0.1:9" },
    { auth: { ...api.auth, installationId: 8 } },
    { auth: { ...api.auth, permissions: { contents: "write" } } },
    { auth: { type: "bearer", tokenEnvVar: "APP_KEY", required: false } },
  ]) {
    const [status, code] = await put({ ...api, ...change });
    expect([status, code], JSON.stringify(change)).toEqual([403, "EGRESS_NOT_ALLOWED"]);
  }
  expect(await put({ ...api, timeoutMs: 1_000 })).toEqual([201, undefined]);
  expect((await ask(gateway, "copy")).status).toBe(200);
});
