/** `byteproxy services --offline`: DATA_DIR changed without a gateway, by the same checks, and never beside one. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { runCommand, startProcess } from "../support/process.ts";
import { startUpstream } from "../support/upstream.ts";

describe("--offline", () => {
  test("is refused in one line while a gateway runs there, and changes what the next one serves after it", async () => {
    const upstream = await startUpstream();
    const first = startProcess({ EGRESS_ALLOW_PRIVATE: "true" });
    await first.port();
    const env = { DATA_DIR: join(first.directory, "data"), EGRESS_ALLOW_PRIVATE: "true" };
    const offline = (...words: string[]) => runCommand(env, ["services", ...words, "--offline"]);
    const refused = await offline("add", "api", "--base-url", upstream.url);
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.err).toMatch(
      new RegExp(`^DATA_DIR \\S+ is in use by a running gateway \\(process ${first.child.pid}\\): .*\\n$`),
    );
    first.child.kill("SIGTERM");
    await first.ended;

    expect((await offline("add", "api", "--base-url", upstream.url)).out).toMatch(
      /^api is served from the next start on/,
    );
    expect((await offline("add", "gone", "--base-url", upstream.url, "--json")).code).toBe(0);
    expect((await offline("remove", "gone")).out).toBe("gone is removed\n");
    expect(existsSync(join(env.DATA_DIR, "lock"))).toBe(false);
    const second = startProcess(env);
    const port = await second.port();
    expect((await fetch(`http://127.0.0.1:${port}/proxy/api/`)).status).toBe(200);
    const audit = (await (await fetch(`http://127.0.0.1:${port}/manage/audit`)).json()) as { entries: object[] };
    expect(audit.entries[0]).toMatchObject({ caller: "command line", action: "service.delete", subject: "gone" });
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
    const env = { DATA_DIR: "d" };
    const run = startProcess(env, ["services", "add", "api", "--base-url", "https://api.example.com", "--offline"]);
    expect(await run.ended).toBe(0);
    const state = join(run.directory, "d/services.json");
    writeFileSync(state, readFileSync(state, "utf8").replace("https:", "ftp:"));
    const there = { DATA_DIR: join(run.directory, "d") };
    const broken = startProcess(there);
    expect(await broken.ended).toBe(2);
    const list = await runCommand(there, ["services", "list", "--offline"]);
    expect([list.code, list.err]).toEqual([0, expect.stringMatching(/^api is out of use: baseUrl: /)]);
    expect((await runCommand(there, ["services", "remove", "api", "--offline"])).code).toBe(0);
    const mended = startProcess(there);
    await eventually(() => mended.out().includes("listens on"), "the start", 9_000);
  }, 20_000);
});
