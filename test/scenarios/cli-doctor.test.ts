/** `byteproxy doctor`: the checks of a gateway that runs, and of one that does not start. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { CheckResult } from "../../src/diagnostics/check.ts";
import { version } from "../../src/version.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { type EndedRun, runCommand, startProcess } from "../support/process.ts";
import { answering, startRawUpstream, startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

/** One that nobody listens on. */
async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

const doctor = (env: Record<string, string>, ...words: string[]) => runCommand(env, ["doctor", ...words]);

function checkOf({ out }: EndedRun, id: string): CheckResult | undefined {
  return (JSON.parse(out).checks as CheckResult[]).find((check) => check.id === id);
}

describe("beside a running gateway", () => {
  test("tells what GET /manage/diagnostics tells, for people and as it is", async () => {
    const gateway = await startGateway({ env: KEYS });
    const asked = (...words: string[]) =>
      doctor({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, "--url", gateway.url, ...words);
    const [words, json] = await Promise.all([asked(), asked("--json")]);
    expect([words.code, json.code, json.err]).toEqual([0, 0, ""]);
    const { body } = await manage(gateway, "GET", "/diagnostics");
    const ids = (checks: CheckResult[]) => checks.map(({ id }) => id);
    const told = JSON.parse(json.out);
    expect(Object.keys(told)).toEqual(Object.keys(body));
    expect(ids(told.checks)).toEqual(ids(body.checks));
    for (const { id, status } of body.checks as CheckResult[]) {
      expect(words.out).toMatch(new RegExp(`^${status} +${id} +\\S`, "m"));
    }
    expect(words.out).toMatch(/^\d+ ok, \d+ warn, 0 fail in \d+ ms$/m);
    expect(words.out).not.toMatch(/^Attention/m);
  }, 20_000);

  test("ends with 1 where a check fails, and shows its evidence and the mend", async () => {
    const gateway = await startGateway({
      env: { ...KEYS, ECHO_SERVICE: "false" },
      services: { api: { baseUrl: "http://127.0.0.1:1/" } },
    });
    const failed = await doctor({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, "--url", gateway.url);
    expect(failed.code).toBe(1);
    expect(failed.out).toMatch(/^fail {2}reach:api +api: .*\n {6}baseUrl: http:\/\/127\.0\.0\.1:1\/$/m);
    expect(failed.out).toMatch(/^ {6}fix: evidence\.phase is/m);
  }, 20_000);

  test("is refused with a wrong key, or without one, in one line: nothing is looked at in its place", async () => {
    const gateway = await startGateway({ env: KEYS });
    const wrong = await doctor({ MANAGEMENT_API_KEY: "a-wrong-key-0123456789" }, "--url", gateway.url);
    expect([wrong.code, wrong.out, wrong.err.trim().split("\n").length]).toEqual([1, "", 1]);
    expect((await doctor({}, "--url", gateway.url)).err).toContain("Set MANAGEMENT_API_KEY");
  }, 20_000);
});

describe("where no gateway runs", () => {
  test("looks at what a start would meet, says so, and leaves nothing behind", async () => {
    const upstream = await startUpstream();
    const port = await freePort();
    const run = startProcess({ PORT: port, TOKEN: "a-token-of-mine" }, ["doctor"], {
      "services.yaml": `services: { api: { baseUrl: "${upstream.url}", auth: { type: bearer, tokenEnvVar: TOKEN } } }`,
      ".env": "CONFIG_FILE=services.yaml\n",
    });
    expect(await run.ended).toBe(0);
    expect(run.out()).toMatch(new RegExp(`^Attention: no gateway is running at http://127.0.0.1:${port}\\.$`, "m"));
    for (const id of [
      "listen",
      "config",
      "env-files",
      "data-dir",
      "auth",
      "clock",
      "cors",
      "reach:api",
      "credential:api",
    ])
      expect(run.out()).toMatch(new RegExp(`^(ok|warn) +${id} `, "m"));
    expect(run.out()).toMatch(/^Skipped, .*: pressure, memory, limits:<service>, quota:<service>, pool:<service>$/m);
    expect(run.out()).not.toMatch(/^(ok|warn|fail) +(pressure|memory|pool:)/m);
    expect(run.out()).not.toContain("a-token-of-mine");
    expect(upstream.requests.every(({ headers }) => headers.authorization === "Bearer a-token-of-mine")).toBe(true);
    expect(readdirSync(run.directory).sort()).toEqual([".env", "services.yaml"]);
  }, 20_000);

  test("tells of everything that is wrong with the configuration, and contacts nobody by it", async () => {
    const upstream = await startUpstream();
    const env = { PORT: await freePort(), NETWORK_RETRIES: "many", HOST: "0.0.0.0", CONFIG_FILE: "services.yaml" };
    const files = { "services.yaml": `services: { api: { baseUrl: "${upstream.url}", retrys: 2 } }` };
    const broken = await runCommand(env, ["doctor", "--json"], { files });
    expect(broken.code).toBe(1);
    expect(checkOf(broken, "config")).toMatchObject({
      status: "fail",
      summary: "the configuration on disk has 3 problems",
      evidence: {
        problems: expect.arrayContaining([
          expect.stringMatching(/^NETWORK_RETRIES \(environment\): found "many"/),
          expect.stringMatching(/^HOST \(environment\): .* unprotected/),
          expect.stringMatching(/^services\.yaml:1:\d+ .*did you mean "retries"/),
        ]),
      },
    });
    const { checks, notRunning } = JSON.parse(broken.out);
    expect(checks.map(({ id }: CheckResult) => id)).toEqual(["listen", "config", "env-files", "data-dir"]);
    expect(notRunning.leftOut).toEqual(expect.arrayContaining(["auth", "reach:<service>", "pressure"]));
    expect(upstream.requests).toEqual([]);
  }, 20_000);

  test("is no crash where not even the address can be read", async () => {
    const broken = await doctor({ PORT: "http" });
    expect([broken.code, broken.err]).toEqual([1, ""]);
    expect(broken.out).toMatch(/^Attention: no gateway could be contacted: PORT \(environment\): found "http"/m);
    expect(broken.out).toMatch(/^fail {2}config .*\n(.*\n)* {8}PORT \(environment\): found "http"/m);
    expect((await doctor({ PORT: "0" })).out).toContain("name the gateway's address with --url");
  }, 20_000);

  test("names whoever has the port, and asks what answers there nothing more", async () => {
    const other = await startUpstream();
    const taken = await doctor({ PORT: String(other.port) }, "--json");
    expect(taken.code).toBe(1);
    expect(JSON.parse(taken.out).notRunning.reason).toMatch(/^no gateway responds at .*but not as ByteProxy does/);
    expect(checkOf(taken, "listen")).toMatchObject({
      status: "fail",
      summary: expect.stringContaining(`is in use by node, process ${process.pid}`),
    });
  }, 20_000);

  test("finds DATA_DIR held by another gateway, and takes nothing away from it", async () => {
    const gateway = startProcess(KEYS);
    const url = `http://127.0.0.1:${await gateway.port()}`;
    const folder = join(gateway.directory, "data");
    const before = readdirSync(folder).sort();
    const held = await doctor({ PORT: await freePort(), DATA_DIR: folder }, "--json");
    expect(held.code).toBe(1);
    expect(checkOf(held, "data-dir")).toMatchObject({
      status: "fail",
      summary: expect.stringContaining(`in use by another gateway (process ${gateway.child.pid})`),
      evidence: { holder: String(gateway.child.pid) },
    });
    expect(readdirSync(folder).sort()).toEqual(before);
    expect((await manage({ url }, "GET", "/services")).status).toBe(200);
    const second = await runCommand({ DATA_DIR: folder }, []);
    expect([second.code, second.err]).toEqual([1, expect.stringContaining(`process ${gateway.child.pid}`)]);

    // What a crash leaves of the lock holds nothing.
    gateway.child.kill("SIGKILL");
    await gateway.ended;
    const left = readdirSync(folder).sort();
    const free = await doctor({ PORT: await freePort(), DATA_DIR: folder }, "--json");
    expect([free.code, checkOf(free, "data-dir")?.status]).toEqual([0, "ok"]);
    expect(readdirSync(folder).sort()).toEqual(left);
  }, 20_000);

  test("sees what was stored: services, keys, and what cannot be used of them", async () => {
    const upstream = await startUpstream();
    const folder = tempFolder();
    const env = { DATA_DIR: folder, PORT: await freePort(), EGRESS_ALLOW_PRIVATE: "true" };
    await runCommand(env, ["services", "add", "api", "--base-url", upstream.url, "--offline"]);
    await runCommand(env, ["keys", "create", "--name", "ci", "--permissions", "api:read", "--offline"]);
    const before = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]);
    const sound = await doctor(env, "--json");
    expect([sound.code, checkOf(sound, "reach:api")?.status]).toEqual([0, "ok"]);
    expect(checkOf(sound, "keys")).toMatchObject({ summary: "1 active key" });
    expect(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")])).toEqual(before);

    const stored = {
      format: 1,
      revision: 1,
      entries: { api: { value: { config: { baseUrl: "ftp://x" } }, version: 1 } },
    };
    writeFileSync(join(folder, "services.json"), JSON.stringify(stored));
    const unsound = await doctor(env, "--json");
    expect([unsound.code, checkOf(unsound, "config")?.status]).toEqual([1, "fail"]);
    expect(checkOf(unsound, "config")?.evidence.problems).toEqual([expect.stringContaining("services.api.baseUrl")]);

    writeFileSync(join(folder, "services.json"), '{"format":1,');
    const torn = await doctor(env, "--json");
    expect([torn.code, checkOf(torn, "data-dir")?.status]).toEqual([1, "fail"]);
    expect(checkOf(torn, "data-dir")?.summary).toContain("services.json cannot be used");
  }, 30_000);

  test("dials the gateway's own address as little as a gateway does, whoever listens there", async () => {
    const other = await startUpstream();
    const files = { "services.yaml": `services: { loop: { baseUrl: "http://127.0.0.1:${other.port}/" } }` };
    const env = { PORT: String(other.port), CONFIG_FILE: "services.yaml" };
    const run = await runCommand(env, ["doctor", "--offline", "--json"], { files });
    expect(checkOf(run, "reach:loop")).toMatchObject({ status: "fail", evidence: { code: "EGRESS_NOT_ALLOWED" } });
    expect(other.requests).toEqual([]);
  }, 20_000);

  test("finds a DATA_DIR that a start could not make", async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, "file"), "");
    const found = await doctor({ PORT: await freePort(), DATA_DIR: join(folder, "file/data") }, "--json");
    expect([found.code, checkOf(found, "data-dir")?.status]).toEqual([1, "fail"]);
  }, 20_000);
});

test("a typo is answered with what was meant, and wrong use ends with 2", async () => {
  const [command, option, both, more] = await Promise.all([
    runCommand({}, ["docter"]),
    doctor({}, "--bundel", "x.json"),
    doctor({}, "--offline", "--url", "http://127.0.0.1:1"),
    doctor({}, "github"),
  ]);
  expect([command.code, option.code, both.code, more.code]).toEqual([2, 2, 2, 2]);
  expect(command.err).toContain("(Did you mean doctor?)");
  expect(option.err).toContain("(Did you mean --bundle?)");
}, 20_000);

/** In every place in which a secret may be; each is found by the word in it, however it is spelt. */
const PLANTED = {
  PROXY_API_KEY: "PLANTED+proxy/key=0123456789",
  MANAGEMENT_API_KEY: "PLANTED+management/key=0123456789",
  TOKEN: "PLANTED+upstream/token=93d4",
  BASIC: "PLANTED-user:PLANTED/password+5e",
  FILE: "PLANTED+token/file=77",
  HEADER: "PLANTED+header/value=1",
  FORCED: "PLANTED+forced/value=2",
  QUERY: "PLANTED+query/value=3",
  CALLERS: "PLANTED+of/the/callers=4",
  REST: "PLANTED+named/by/rest_secrets=5",
  RUNTIME: "PLANTED+runtime/header=6",
  BY_FILE: "PLANTED+key/from/a/file=01234",
};

/** As it is, percent-encoded, in base64 at each of the three offsets that it may have in a longer text, and as base64url. */
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
}

function plantedFiles(upstream: string, garbage: string): Record<string, string> {
  const bearer = { type: "bearer", tokenEnvVar: "TOKEN" };
  const services = {
    api: {
      ...{ baseUrl: upstream, auth: bearer },
      headers: { "X-Custom": PLANTED.HEADER },
      setHeaders: { Cookie: PLANTED.FORCED },
    },
    basic: { baseUrl: "http://127.0.0.1:1/", retries: 0, auth: { type: "basic", tokenEnvVar: "BASIC" } },
    file: { baseUrl: garbage, retries: 0, auth: { type: "api-key", queryParam: "key", tokenFile: "token" } },
  };
  return {
    "services.json": JSON.stringify({ services }),
    token: `${PLANTED.FILE}\n`,
    key: `${PLANTED.MANAGEMENT_API_KEY}\n`,
    ".env": `TOKEN=${PLANTED.TOKEN}\nREST=${PLANTED.REST}\nCONFIG_FILE=services.json\n`,
  };
}

const PLANTED_ENV = {
  ...{ PROXY_API_KEY: PLANTED.PROXY_API_KEY, MANAGEMENT_API_KEY_FILE: "key", BASIC: PLANTED.BASIC },
  ...{ REST_SECRETS: "REST@https://api.example.com", SOMETHING_ELSE: PLANTED.QUERY, LOG_LEVEL: "trace" },
  ...{ UPDATE_CHECK_URL: `http://127.0.0.1:1/feed?token=${encodeURIComponent(PLANTED.QUERY)}` },
};

describe("--bundle", () => {
  test("of a running gateway holds what a helper asks for, and no secret in any spelling", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    const garbage = await startRawUpstream(answering("SSH-2.0\r\n\r\n"));
    const files = plantedFiles(upstream.url, garbage.url);
    const gateway = startProcess({ ...PLANTED_ENV, EGRESS_ALLOW_PRIVATE: "true" }, [], files);
    const url = `http://127.0.0.1:${await gateway.port()}`;
    const operator = { "x-api-key": PLANTED.MANAGEMENT_API_KEY, "content-type": "application/json" };
    const added = await fetch(`${url}/manage/services`, {
      ...{ method: "POST", headers: operator },
      body: JSON.stringify({
        ...{ key: "added", config: { baseUrl: upstream.url, setHeaders: { "X-Runtime": PLANTED.RUNTIME } } },
      }),
    });
    expect(added.status).toBe(201);
    const issued = await fetch(`${url}/manage/keys`, {
      ...{ method: "POST", headers: operator },
      body: JSON.stringify({ name: "ci", permissions: ["api:read"] }),
    });
    const { key } = (await issued.json()) as { key: string };
    const presented = [PLANTED.PROXY_API_KEY, key, PLANTED.CALLERS, PLANTED.MANAGEMENT_API_KEY];
    for (const path of ["api", "basic", "file", "added", "nobody"]) {
      for (const each of presented) {
        const query = encodeURIComponent(each);
        await fetch(`${url}/proxy/${path}/${query}?token=${query}&api_key=${query}`, {
          headers: { "x-api-key": each },
        });
      }
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
      ...{ version: version.version, runtime: `node ${process.versions.node}`, platform: expect.any(String) },
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
    expect(bundle.audit).toContainEqual(expect.objectContaining({ action: "service.create", subject: "added" }));
    expect(bundle.recentErrors).toContainEqual(
      expect.objectContaining({
        level: "warn",
        service: "api",
        status: 401,
        message: "api answered 401 to its credential",
      }),
    );
    expect(bundle.recentErrors).toContainEqual(expect.objectContaining({ service: "basic", level: "warn" }));
  }, 30_000);

  test("where no gateway runs holds no secret either, also where the configuration is broken", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    const files = plantedFiles(upstream.url, "http://127.0.0.1:1/");
    const env = { ...PLANTED_ENV, PORT: await freePort() };
    const sound = startProcess(env, ["doctor", "--bundle", "help.json"], files);
    expect(await sound.ended).toBe(1);
    const text = readFileSync(join(sound.directory, "help.json"), "utf8");
    expectNoSecret(text + sound.out() + sound.err());
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

  test("makes a file for its user alone, and writes over none", async () => {
    const folder = tempFolder({ "there.json": "mine" });
    const env = { PORT: await freePort() };
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

test("what answers as no gateway does is not believed", async () => {
  const other = await startUpstream((_, res) => {
    res.setHeader("Content-Type", "application/json");
    res.end('{"checks":"none","summary":{"fail":0}}');
  });
  const run = await doctor({ PORT: String(other.port) });
  expect([run.code, run.out]).toEqual([
    1,
    expect.stringMatching(/^Attention: no gateway responds at .*\nThese checks/),
  ]);
}, 20_000);
