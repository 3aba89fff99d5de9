/** `byteproxy doctor`: the checks of a running gateway, and of one that does not start. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { CheckResult } from "../../src/diagnostics/check.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startProcess } from "../support/process.ts";
import { type EndedCommand, runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

const doctor = (env: Record<string, string>, ...words: string[]) => runCommand(env, ["doctor", ...words]);

function checkOf({ out }: EndedCommand, id: string): CheckResult | undefined {
  return (JSON.parse(out).checks as CheckResult[]).find((check) => check.id === id);
}

describe("doctor with a running gateway", () => {
  test("The doctor prints the diagnostics of a running gateway as text, and unchanged with --json", async () => {
    const gateway = await startGateway({ env: KEYS });
    const asked = (...words: string[]) =>
      doctor({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, "--url", gateway.url, ...words);
    const [words, json] = await Promise.all([asked("--all"), asked("--json")]);
    expect([words.code, json.code, json.err]).toEqual([0, 0, ""]);
    const { body } = await manage(gateway, "GET", "/diagnostics");
    const ids = (checks: CheckResult[]) => checks.map(({ id }) => id);
    const printed = JSON.parse(json.out);
    expect(Object.keys(printed)).toEqual(Object.keys(body));
    expect(ids(printed.checks)).toEqual(ids(body.checks));
    for (const { id, status } of body.checks as CheckResult[]) {
      expect(words.out).toMatch(new RegExp(`^${status} +${id} +\\S`, "m"));
    }
    expect(words.out).toMatch(/^\d+ ok, \d+ warn, 0 fail in \d+ ms$/m);
    expect(words.out).not.toMatch(/^Attention/m);
  }, 20_000);

  test("The doctor exits with 1 when a check fails, and prints its evidence and its fix", async () => {
    const gateway = await startGateway({
      env: { ...KEYS, ECHO_SERVICE: "false" },
      services: { api: { baseUrl: "http://127.0.0.1:1/" } },
    });
    const failed = await doctor({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, "--url", gateway.url);
    expect(failed.code).toBe(1);
    expect(failed.out).toMatch(/^fail {2}reach:api +api: .*\n {6}baseUrl: http:\/\/127\.0\.0\.1:1\/$/m);
    expect(failed.out).toMatch(/^ {6}fix: Check host and port in baseUrl/m);
    expect(failed.out).not.toMatch(/resolver|certificate/);
  }, 20_000);

  test("The doctor prints problems first and counts the checks that passed; --quiet prints problems only", async () => {
    const gateway = await startGateway({
      env: { ...KEYS, ECHO_SERVICE: "false" },
      services: { api: { baseUrl: "http://127.0.0.1:1/" } },
    });
    const asked = (...words: string[]) =>
      doctor({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, "--url", gateway.url, ...words);
    const [words, all, quiet] = await Promise.all([asked(), asked("--all"), asked("--quiet")]);
    expect(words.out).toMatch(/^fail {2}reach:api/);
    expect(words.out).not.toMatch(/^ok /m);
    expect(words.out).toMatch(/^\d+ ok, \d+ warn, \d+ fail in \d+ ms \(--all lists every check\)$/m);
    const statuses = [...all.out.matchAll(/^(fail|warn|ok) /gm)].map((match) => match[1] as string);
    expect(statuses).toEqual([...statuses].sort((a, b) => "fail warn ok".indexOf(a) - "fail warn ok".indexOf(b)));
    expect(statuses).toContain("ok");
    expect(quiet.out).toMatch(/^fail {2}reach:api/);
    expect(quiet.out).not.toMatch(/^ok |\d+ ok,/m);
    expect([words.code, all.code, quiet.code]).toEqual([1, 1, 1]);
  }, 20_000);

  test("A gateway that refuses the key ends the doctor with one line and no checks of the folder", async () => {
    const gateway = await startGateway({ env: KEYS });
    const wrong = await doctor({ MANAGEMENT_API_KEY: "a-wrong-key-0123456789" }, "--url", gateway.url);
    expect([wrong.code, wrong.out, wrong.err.trim().split("\n").length]).toEqual([1, "", 1]);
    expect((await doctor({}, "--url", gateway.url)).err).toContain("Set MANAGEMENT_API_KEY");
  }, 20_000);
});

describe("doctor without a gateway", () => {
  test("Without a running gateway the doctor checks what a start would use, says so, and leaves no files", async () => {
    const upstream = await startUpstream();
    const port = String(await freePort());
    const run = startProcess({ PORT: port, TOKEN: "a-token-of-mine" }, ["doctor", "--all"], {
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
    expect(run.out()).toMatch(
      /^Skipped, .*: pressure, memory, budgets, limits:<service>, quota:<service>, pool:<service>$/m,
    );
    expect(run.out()).not.toMatch(/^(ok|warn|fail) +(pressure|memory|pool:)/m);
    expect(run.out()).not.toContain("a-token-of-mine");
    expect(upstream.requests.every(({ headers }) => headers.authorization === "Bearer a-token-of-mine")).toBe(true);
    expect(readdirSync(run.directory).sort()).toEqual([".env", "services.yaml"]);
  }, 20_000);

  test("The doctor reports every problem of a broken configuration, and contacts no upstream", async () => {
    const upstream = await startUpstream();
    const env = {
      PORT: String(await freePort()),
      NETWORK_RETRIES: "many",
      HOST: "0.0.0.0",
      CONFIG_FILE: "services.yaml",
    };
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
    expect(checks.map(({ id }: CheckResult) => id)).toEqual([
      "listen",
      "tls-listener",
      "config",
      "env-files",
      "data-dir",
      "hooks",
    ]);
    expect(notRunning.leftOut).toEqual(expect.arrayContaining(["auth", "reach:<service>", "pressure"]));
    expect(upstream.requests).toEqual([]);
  }, 20_000);

  test("Settings without a readable address do not stop the doctor", async () => {
    const broken = await doctor({ PORT: "http" });
    expect([broken.code, broken.err]).toEqual([1, ""]);
    expect(broken.out).toMatch(/^Attention: no gateway could be contacted: PORT \(environment\): found "http"/m);
    expect(broken.out).toMatch(/^fail {2}config .*\n(.*\n)* {8}PORT \(environment\): found "http"/m);
    expect((await doctor({ PORT: "0" })).out).toContain("name the gateway's address with --url");
  }, 20_000);

  test("The doctor names the process that holds the port", async () => {
    const other = await startUpstream();
    const taken = await doctor({ PORT: String(other.port) }, "--json");
    expect(taken.code).toBe(1);
    expect(JSON.parse(taken.out).notRunning.reason).toMatch(/^no gateway responds at .*but not as ByteProxy does/);
    expect(checkOf(taken, "listen")).toMatchObject({
      status: "fail",
      summary: expect.stringContaining(`is in use by node, process ${process.pid}`),
    });
  }, 20_000);

  test("The doctor reports that another gateway uses DATA_DIR, and does not disturb that gateway", async () => {
    const gateway = startProcess(KEYS);
    const url = `http://127.0.0.1:${await gateway.port()}`;
    const folder = join(gateway.directory, "data");
    const before = readdirSync(folder).sort();
    const held = await doctor({ PORT: String(await freePort()), DATA_DIR: folder }, "--json");
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

    // The lock file that a crash leaves does not lock the folder.
    gateway.child.kill("SIGKILL");
    await gateway.ended;
    const left = readdirSync(folder).sort();
    const free = await doctor({ PORT: String(await freePort()), DATA_DIR: folder }, "--json");
    expect([free.code, checkOf(free, "data-dir")?.status]).toEqual([0, "ok"]);
    expect(readdirSync(folder).sort()).toEqual(left);
  }, 20_000);

  test("The doctor checks the stored services and keys, and reports those that cannot be used", async () => {
    const upstream = await startUpstream();
    const folder = tempFolder();
    const env = { DATA_DIR: folder, PORT: String(await freePort()), EGRESS_ALLOW_PRIVATE: "true" };
    await runCommand(env, ["services", "add", "api", "--base-url", upstream.url, "--offline"]);
    await runCommand(env, ["keys", "create", "--name", "ci", "--permissions", "api:read", "--offline"]);
    const before = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]);
    const valid = await doctor(env, "--json");
    expect([valid.code, checkOf(valid, "reach:api")?.status]).toEqual([0, "ok"]);
    expect(checkOf(valid, "keys")).toMatchObject({ summary: "1 active key" });
    expect(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")])).toEqual(before);

    const stored = {
      format: 1,
      revision: 1,
      entries: { api: { value: { config: { baseUrl: "ftp://x" } }, version: 1 } },
    };
    writeFileSync(join(folder, "services.json"), JSON.stringify(stored));
    const invalid = await doctor(env, "--json");
    expect([invalid.code, checkOf(invalid, "config")?.status]).toEqual([1, "fail"]);
    expect(checkOf(invalid, "config")?.evidence.problems).toEqual([expect.stringContaining("services.api.baseUrl")]);

    writeFileSync(join(folder, "services.json"), '{"format":1,');
    const torn = await doctor(env, "--json");
    expect([torn.code, checkOf(torn, "data-dir")?.status]).toEqual([1, "fail"]);
    expect(checkOf(torn, "data-dir")?.summary).toContain("services.json cannot be used");
  }, 30_000);

  test("The doctor does not dial the gateway's own address, even if another process listens there", async () => {
    const other = await startUpstream();
    const files = { "services.yaml": `services: { loop: { baseUrl: "http://127.0.0.1:${other.port}/" } }` };
    const env = { PORT: String(other.port), CONFIG_FILE: "services.yaml" };
    const run = await runCommand(env, ["doctor", "--offline", "--json"], { files });
    expect(checkOf(run, "reach:loop")).toMatchObject({ status: "fail", evidence: { code: "EGRESS_NOT_ALLOWED" } });
    expect(other.requests).toEqual([]);
  }, 20_000);

  test("The doctor reports a DATA_DIR that a start could not create", async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, "file"), "");
    const found = await doctor({ PORT: String(await freePort()), DATA_DIR: join(folder, "file/data") }, "--json");
    expect([found.code, checkOf(found, "data-dir")?.status]).toEqual([1, "fail"]);
  }, 20_000);
});

test("A typing error gets a suggestion, and wrong use exits with 2", async () => {
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

test("A response that does not come from ByteProxy counts as no running gateway", async () => {
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
