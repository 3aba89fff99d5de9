/** `--offline`: changes DATA_DIR with the checks of a gateway, and never while a gateway runs. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import type { GatewayStores } from "../../src/composition/gateway-options.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startProcess } from "../support/process.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

describe("offline", () => {
  test("An offline command is refused with one line while a gateway uses DATA_DIR", async () => {
    const gateway = startProcess();
    await gateway.port();
    const env = { DATA_DIR: join(gateway.directory, "data") };
    const refused = await runCommand(env, ["services", "list", "--json", "--offline"]);
    expect([refused.code, JSON.parse(refused.out).code]).toEqual([1, "COMMAND_FAILED"]);
    expect(refused.err).toMatch(
      new RegExp(`^DATA_DIR \\S+ is in use by a running gateway \\(process ${gateway.child.pid}\\): .*\\n$`),
    );
  }, 20_000);

  test("The next gateway serves an offline change, and its audit names the command line", async () => {
    const upstream = await startUpstream();
    const folder = tempFolder();
    const env = { DATA_DIR: folder, EGRESS_ALLOW_PRIVATE: "true" };
    const offline = (...words: string[]) => runCommand(env, ["services", ...words, "--offline"]);
    const added = await offline("add", "api", "--base-url", upstream.url);
    expect(added).toMatchObject({ code: 0, out: expect.stringMatching(/^api is served from the next start on: /) });
    expect(existsSync(join(folder, "lock"))).toBe(false);

    const stores: GatewayStores = await openFileStores(folder, isStoredService, isStoredKey);
    const gateway = await startGateway({ stores, env: { EGRESS_ALLOW_PRIVATE: "true" } });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
    const audit = (await manage(gateway, "GET", "/audit")).body;
    expect(audit.entries[0]).toMatchObject({ caller: "command line", action: "service.create", subject: "api" });
    await gateway.close();

    const changed = await offline("update", "api", "--config", '{"timeoutMs": 1234}');
    expect(changed).toEqual({ code: 0, err: "", out: "api is changed from the next start on: timeoutMs 1234\n" });
    const shown = JSON.parse((await offline("show", "api", "--json")).out);
    expect(shown).toMatchObject({ source: "runtime", config: { baseUrl: upstream.url, timeoutMs: 1234 } });
    expect((await offline("remove", "api")).out).toBe("Removed api\n");
    const list = await offline("list", "--json");
    const keys = JSON.parse(list.out).services.map(({ key }: { key: string }) => key);
    expect([keys.includes("echo"), keys.includes("api")]).toEqual([true, false]);
  }, 20_000);

  test("An offline command issues the key that a first start on a public address needs, and rotates and revokes it", async () => {
    const folder = tempFolder();
    const env = { DATA_DIR: folder, HOST: "0.0.0.0", MANAGEMENT_API_KEY: MANAGEMENT_KEY };
    const refused = startProcess({ ...env, PORT: "0" });
    expect(await refused.ended).toBe(2);
    const keys = (...words: string[]) => runCommand(env, ["keys", ...words, "--offline"]);
    const made = await keys("create", "--name", "ci", "--permissions", "echo:read");
    expect([made.code, made.err]).toEqual([0, expect.stringMatching(/^The key ci \(key_\w+\) allows echo:read and /)]);
    const list = JSON.parse((await keys("list", "--json")).out) as { keys: { id: string; createdBy: string }[] };
    expect(list.keys).toMatchObject([{ name: "ci", state: "active", createdBy: "command line" }]);
    const id = list.keys[0]?.id as string;
    const rotated = await keys("rotate", id, "--grace", "60");
    expect(rotated.code).toBe(0);
    expect(await keys("rotate", "key_nothing")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^There is no key with this id\./),
    });
    expect((await keys("create", "--name", "x", "--permissions", "echo")).code).toBe(2);

    const gateway = startProcess({ ...env, PORT: "0", ECHO_SERVICE: "true" });
    const url = `http://127.0.0.1:${await gateway.port()}/proxy/echo/x`;
    const ask = async (key: string) => (await fetch(url, { headers: { "x-api-key": key } })).status;
    expect([await ask(made.out.trim()), await ask(rotated.out.trim()), await ask("wrong")]).toEqual([200, 200, 401]);
    gateway.child.kill("SIGTERM");
    await gateway.ended;
    expect(await keys("revoke", id)).toMatchObject({ code: 0, out: `Revoked ${id}\n` });
    const audit = readFileSync(join(folder, "audit.jsonl"), "utf8");
    expect(audit.match(/"action":"key\.\w+"/g)).toEqual([
      ...['"action":"key.create"', '"action":"key.rotate"', '"action":"key.revoke"'],
    ]);
    expect(audit).not.toContain(made.out.trim());
  }, 20_000);

  test("An offline change passes the checks of a gateway, and cannot use a locked secret", async () => {
    const secret = { GITHUB_TOKEN: "a-token-for-github" };
    const auth = ["--auth", "bearer", "--token-env-var", "GITHUB_TOKEN"];
    const [locked, inside, invalid] = await Promise.all([
      runCommand(secret, [
        "services",
        "add",
        "x",
        "--base-url",
        "https://example.com/",
        ...auth,
        "--offline",
        "--json",
      ]),
      runCommand({}, ["services", "add", "x", "--base-url", "http://169.254.169.254/", "--offline"]),
      runCommand({}, ["services", "add", "No", "--base-url", "https://example.com/", "--offline"]),
    ]);
    expect([locked.code, JSON.parse(locked.out).code]).toEqual([1, "EGRESS_NOT_ALLOWED"]);
    expect(locked.out + locked.err).not.toContain(secret.GITHUB_TOKEN);
    expect([inside.code, inside.err]).toEqual([1, expect.stringContaining("may not be called")]);
    expect([invalid.code, invalid.err]).toEqual([2, expect.stringMatching(/^ {2}key: found "No"/m)]);
  });

  test("An offline command removes a stored service that is not valid any more and prevents a start", async () => {
    const folder = tempFolder();
    const env = { DATA_DIR: folder };
    writeFileSync(
      join(folder, "services.json"),
      JSON.stringify({
        format: 1,
        revision: 1,
        entries: { api: { value: { config: { baseUrl: "ftp://x" } }, version: 1 } },
      }),
    );
    const broken = await runCommand(env, []);
    expect([broken.code, broken.err]).toEqual([
      2,
      expect.stringMatching(/^services\.api\.baseUrl \(added over REST\)/),
    ]);
    const list = await runCommand(env, ["services", "list", "--offline"]);
    expect([list.code, list.err]).toEqual([0, expect.stringMatching(/^api is out of use: baseUrl: /)]);
    const removed = await runCommand(env, ["services", "remove", "api", "--offline"]);
    expect(removed).toEqual({ code: 0, out: "Removed api\n", err: "" });
    expect(readFileSync(join(folder, "services.json"), "utf8")).not.toContain("api");
  }, 20_000);
});
