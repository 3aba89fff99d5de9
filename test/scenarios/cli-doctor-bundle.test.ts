/** `byteproxy doctor --bundle`: the file for a request for help, and no secret in it. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { version } from "../../src/version.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { freePort } from "../support/free-port.ts";
import { piecesOf, pkcs1Of, rsaPair, serviceAccountOf } from "../support/keys.ts";
import { startProcess } from "../support/process.ts";
import { runCommand } from "../support/run-command.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

const doctor = (env: Record<string, string>, ...words: string[]) => runCommand(env, ["doctor", ...words]);

/** One for each place in which a secret may be. Each contains a word that is found in any encoding of the rest. */
const PLANTED = {
  PROXY_API_KEY: "PLANTED+proxy/key=0123456789",
  MANAGEMENT_API_KEY: "PLANTED+management/key=0123456789",
  TOKEN: "PLANTED+upstream/token=93d4",
  NEXT_TOKEN: "PLANTED+next/token=94d5",
  BASIC: "PLANTED-user:PLANTED/password+5e",
  FILE: "PLANTED+token/file=77",
  HEADER: "PLANTED+header/value=1",
  FORCED: "PLANTED+forced/value=2",
  QUERY: "PLANTED+query/value=3",
  CALLERS: "PLANTED+of/the/callers=4",
  REST: "PLANTED+named/by/rest_secrets=5",
  RUNTIME: "PLANTED+runtime/header=6",
  BY_FILE: "PLANTED+key/from/a/file=01234",
  LOGIN: "PLANTED+refresh/token/of/a/login=8",
};

/** Of an app and of a service account. */
const KEY = rsaPair();

/** Unchanged, percent-encoded, in base64 at each of the three offsets within a longer text, and in base64url. */
function spellingsOf(secret: string): string[] {
  const encoded = encodeURIComponent(secret);
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.from("x".repeat(offset) + secret).toString("base64");
    return text.slice(offset === 0 ? 0 : 4, -4);
  });
  const url = base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  return [secret, encoded, encoded.toLowerCase(), encodeURIComponent(encoded), ...base64, ...url];
}

function expectNoSecret(text: string, more: readonly string[] = []): void {
  const all = [...Object.values(PLANTED).flatMap((secret) => [secret, ...secret.split(":")]), ...more];
  expect(all.flatMap(spellingsOf).filter((spelling) => text.includes(spelling))).toEqual([]);
  expect(text).not.toMatch(/PLANTED/i);
  expect(piecesOf(KEY).filter((piece) => text.includes(piece))).toEqual([]);
}

function plantedFiles(upstream: string, garbage: string): Record<string, string> {
  const bearer = { type: "bearer", tokenEnvVar: "TOKEN", nextTokenEnvVar: "NEXT_TOKEN" };
  const services = {
    api: {
      baseUrl: upstream,
      auth: bearer,
      headers: { "X-Custom": PLANTED.HEADER },
      setHeaders: { Cookie: PLANTED.FORCED },
    },
    basic: { baseUrl: "http://127.0.0.1:1/", retries: 0, auth: { type: "basic", tokenEnvVar: "BASIC" } },
    file: { baseUrl: garbage, retries: 0, auth: { type: "api-key", queryParam: "key", tokenFile: "token" } },
    app: { baseUrl: upstream, auth: { type: "github-app", appId: 1, owner: "acme", privateKeyFile: "app.pem" } },
    person: {
      baseUrl: upstream,
      auth: {
        type: "oauth2",
        grant: "refresh_token",
        refreshToken: "login",
        tokenUrl: `${upstream}/token`,
        authorizationUrl: `${upstream}/authorize`,
        clientId: "client",
        clientAuth: "none",
      },
    },
    robot: { baseUrl: upstream, auth: { type: "oauth2", grant: "jwt_bearer", keyFile: "account.json" } },
  };
  return {
    "services.json": JSON.stringify({ services }),
    token: `${PLANTED.FILE}\n`,
    key: `${PLANTED.MANAGEMENT_API_KEY}\n`,
    "app.pem": pkcs1Of(KEY),
    "account.json": serviceAccountOf(KEY, `${upstream}/token`),
    ".env": `TOKEN=${PLANTED.TOKEN}\nNEXT_TOKEN=${PLANTED.NEXT_TOKEN}\nREST=${PLANTED.REST}\nCONFIG_FILE=services.json\n`,
  };
}

const PLANTED_ENV = {
  PROXY_API_KEY: PLANTED.PROXY_API_KEY,
  MANAGEMENT_API_KEY_FILE: "key",
  BASIC: PLANTED.BASIC,
  REST_SECRETS: "REST@https://api.example.com",
  SOMETHING_ELSE: PLANTED.QUERY,
  LOG_LEVEL: "trace",
  UPDATE_CHECK_URL: `http://127.0.0.1:1/feed?token=${encodeURIComponent(PLANTED.QUERY)}`,
};

describe("bundle", () => {
  test("A bundle of a running gateway holds version, diagnostics, configuration and errors, and no secret in any encoding", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    const garbage = await startRawUpstream(respondWith("SSH-2.0\r\n\r\n"));
    const files = plantedFiles(upstream.url, garbage.url);
    const gateway = startProcess({ ...PLANTED_ENV, EGRESS_ALLOW_PRIVATE: "true" }, [], files);
    const url = `http://127.0.0.1:${await gateway.port()}`;
    const operator = { "x-api-key": PLANTED.MANAGEMENT_API_KEY, "content-type": "application/json" };
    const added = await fetch(`${url}/manage/services`, {
      method: "POST",
      headers: operator,
      body: JSON.stringify({
        key: "added",
        config: { baseUrl: upstream.url, setHeaders: { "X-Runtime": PLANTED.RUNTIME } },
      }),
    });
    expect(added.status).toBe(201);
    const login = await fetch(`${url}/manage/services/person/credential`, {
      method: "PUT",
      headers: operator,
      body: JSON.stringify({ refreshToken: PLANTED.LOGIN }),
    });
    expect(login.status).toBe(204);
    const issued = await fetch(`${url}/manage/keys`, {
      method: "POST",
      headers: operator,
      body: JSON.stringify({ name: "ci", permissions: ["api:read"] }),
    });
    const { key } = (await issued.json()) as { key: string };
    const presented = [PLANTED.PROXY_API_KEY, key, PLANTED.CALLERS, PLANTED.MANAGEMENT_API_KEY];
    for (const path of ["api", "basic", "file", "added", "unknown"]) {
      for (const each of presented) {
        const query = encodeURIComponent(each);
        await fetch(`${url}/proxy/${path}/${query}?token=${query}&api_key=${query}`, {
          headers: { "x-api-key": each },
        });
      }
    }
    // A key in the path is refused, so that the upstream has seen none of the requests above.
    for (const path of ["api", "basic", "file", "app", "robot", "person", "added"]) {
      await fetch(`${url}/proxy/${path}/x`, { headers: { "x-api-key": PLANTED.PROXY_API_KEY } });
    }
    const env = { MANAGEMENT_API_KEY: PLANTED.MANAGEMENT_API_KEY };
    const folder = tempFolder();
    const path = join(folder, "help.json");
    const run = await doctor(env, "--url", url, "--bundle", path);
    expect([run.code, run.err]).toEqual([1, expect.stringContaining("no known secrets")]);
    const text = readFileSync(path, "utf8");
    expectNoSecret(text + run.out + run.err, [key]);
    const bundle = JSON.parse(text);
    expect(bundle).toMatchObject({
      version: version.version,
      runtime: `node ${process.versions.node}`,
      platform: expect.any(String),
      doctor: { name: "byteproxy", version: version.version },
      gateway: { running: true },
      diagnostics: { summary: { status: "fail" }, network: { strictTls: true } },
      status: { services: expect.anything() },
    });
    expect(bundle.config.settings).toContainEqual({ name: "LOG_LEVEL", origin: "environment", value: "trace" });
    expect(bundle.config.settings).toContainEqual({ name: "PROXY_API_KEY", origin: "environment", value: null });
    expect(bundle.config.services).toContainEqual(
      expect.objectContaining({
        key: "added",
        config: expect.objectContaining({ setHeaders: { "X-Runtime": "***" } }),
      }),
    );
    expect(text).toContain("the token endpoint of app responded with 401");
    expect(text).toContain("the token endpoint of person responded with 401");
    expect(bundle.audit).toContainEqual(expect.objectContaining({ action: "service.create", subject: "added" }));
    expect(bundle.recentErrors).toContainEqual(
      expect.objectContaining({
        level: "warn",
        service: "api",
        status: 401,
        message: "api responded 401 to its credential",
      }),
    );
    expect(bundle.recentErrors).toContainEqual(expect.objectContaining({ service: "basic", level: "warn" }));
  }, 30_000);

  test("A bundle without a running gateway holds no secret, even if the configuration is broken", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    const files = plantedFiles(upstream.url, "http://127.0.0.1:1/");
    const env = { ...PLANTED_ENV, PORT: String(await freePort()) };
    const valid = startProcess(env, ["doctor", "--bundle", "help.json"], files);
    expect(await valid.ended).toBe(1);
    const text = readFileSync(join(valid.directory, "help.json"), "utf8");
    expectNoSecret(text + valid.out() + valid.err());
    const { gateway, config } = JSON.parse(text);
    expect(gateway).toMatchObject({ running: false, reason: expect.stringContaining("no gateway is running at") });
    const api = config.services.find((item: { key: string }) => item.key === "api");
    expect(api.config).toMatchObject({ headers: { "X-Custom": "***" }, setHeaders: { Cookie: "***" } });

    const slips = {
      ...files,
      "services.json": JSON.stringify({
        services: {
          api: {
            baseUrl: `https://u:${encodeURIComponent(PLANTED.TOKEN)}@x.example/?k=${encodeURIComponent(PLANTED.QUERY)}`,
          },
          basic: { baseUrl: "https://x.example/", auth: { type: "bearer", tokenEnvVar: PLANTED.TOKEN } },
        },
      }),
    };
    const slipped = {
      ...env,
      REST_SECRETS: PLANTED.REST,
      MANAGEMENT_API_KEY: "PLANTED-short",
      MANAGEMENT_API_KEY_FILE: "",
    };
    const broken = startProcess(slipped, ["doctor", "--bundle", "help.json"], slips);
    expect(await broken.ended).toBe(1);
    const written = readFileSync(join(broken.directory, "help.json"), "utf8");
    expectNoSecret(written + broken.out() + broken.err());
    expect(JSON.parse(written).diagnostics.checks).toContainEqual(
      expect.objectContaining({ id: "config", status: "fail" }),
    );
  }, 30_000);

  test("The bundle is a new file that only its user can read, and no existing file is overwritten", async () => {
    const folder = tempFolder({ "there.json": "mine" });
    const env = { PORT: String(await freePort()) };
    const path = join(folder, "new.json");
    const run = await doctor(env, "--bundle", path, "--json");
    expect(run.code).toBe(0);
    expect(JSON.parse(run.out).summary.fail).toBe(0);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const refused = await doctor(env, "--bundle", join(folder, "there.json"));
    expect([refused.code, refused.out, refused.err]).toEqual([2, "", expect.stringContaining("already exists")]);
    expect(readFileSync(join(folder, "there.json"), "utf8")).toBe("mine");
    const nowhere = await doctor(env, "--bundle", join(folder, "there.json/x.json"));
    expect([nowhere.code, nowhere.err]).toEqual([1, expect.stringMatching(/could not be written: \w+\n$/)]);
  }, 20_000);
});
