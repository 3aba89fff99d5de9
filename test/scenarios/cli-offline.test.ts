/** `byteproxy services --offline`: DATA_DIR changed without a gateway, by the same checks, and never beside one. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/stored-key.ts";
import type { GatewayStores } from "../../src/lasting-parts.ts";
import { isStoredService } from "../../src/registry/stored-service.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { runCommand, startProcess } from "../support/process.ts";
import { startUpstream } from "../support/upstream.ts";

describe("--offline", () => {
  test("is refused in one line while a gateway runs there", async () => {
    const gateway = startProcess();
    await gateway.port();
    const env = { DATA_DIR: join(gateway.directory, "data") };
    const refused = await runCommand(env, ["services", "list", "--json", "--offline"]);
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.err).toMatch(
      new RegExp(`^DATA_DIR \\S+ is in use by a running gateway \\(process ${gateway.child.pid}\\): .*\\n$`),
    );
  }, 20_000);

  test("changes what the next gateway serves, which knows who did it", async () => {
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

    expect((await offline("remove", "api")).out).toBe("api is removed\n");
    const list = await offline("list", "--json");
    const keys = JSON.parse(list.out).services.map(({ key }: { key: string }) => key);
    expect([keys.includes("echo"), keys.includes("api")]).toEqual([true, false]);
  }, 20_000);

  test("checks as a gateway does, and never makes a secret of the environment its own", async () => {
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

  test("takes away a stored service that is none any more, which keeps the gateway from starting", async () => {
    const folder = tempFolder();
    const env = { DATA_DIR: folder };
    writeFileSync(
      join(folder, "services.json"),
      JSON.stringify({
        ...{ format: 1, revision: 1 },
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
    expect(removed).toEqual({ code: 0, out: "api is removed\n", err: "" });
    expect(readFileSync(join(folder, "services.json"), "utf8")).not.toContain("api");
  }, 20_000);
});
