/** `byteproxy proxy <url>`: a gateway for one upstream, without a services file. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findKnownApi, withVariable } from "../../src/config/known-api.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { startProcess } from "../support/process.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-upstream";

test("One upstream is served with its secret, and the folder for the state is private and removed at the end", async () => {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((req, res) => {
    seen.push(`${req.url} ${req.headers.authorization}`);
    res.end("found");
  });
  const state = tempFolder();
  const words = ["proxy", `${upstream.url}/base`, "--token-env", "APP_TOKEN", "--as", "app", "--port", "0"];
  // A services file in the folder, and a built-in service with its secret, are not served.
  const env = { TMPDIR: state, GITHUB_TOKEN: "another-secret", CONFIG_FILE: "absent.json" };
  const run = startProcess(env, words, { ".env": `APP_TOKEN=${SECRET}\n` });
  const port = await run.port();
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  expect([await ask("/proxy/app/x?y=1"), await ask("/proxy/github/user"), await ask("/proxy/echo/")]).toEqual([
    ...[200, 404, 404],
  ]);
  expect(seen).toEqual([`/base/x?y=1 Bearer ${SECRET}`]);
  const [folder = ""] = readdirSync(state);
  expect(statSync(join(state, folder)).mode & 0o777).toBe(0o700);
  const hangUp = () => /SIGHUP: reloaded/.test(run.out());
  run.child.kill("SIGHUP");
  await eventually(hangUp, "a reload");
  expect(await ask("/proxy/app/x")).toBe(200);
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  expect(readdirSync(state)).toEqual([]);
  expect(existsSync(join(run.directory, "data"))).toBe(false);
  expect(run.out() + run.err()).not.toContain(SECRET);
  expect(run.out()).toContain("absent.json (not used)");
});

test("The key is from the URL, a DATA_DIR of the settings is kept, and a start that fails leaves no folder", async () => {
  const [state, data] = [tempFolder(), tempFolder()];
  const env = { TMPDIR: state, DATA_DIR: join(data, "kept") };
  const run = startProcess(env, ["proxy", "https://api.weather.example/v2"]);
  await run.port();
  expect(readdirSync(state)).toEqual([]);
  await eventually(() => run.out().includes("weather (needs no credential)"), "the services");
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  expect(readdirSync(join(data, "kept"))).toContain("installation-key");

  const failed = await runCommand({ TMPDIR: state, HOST: "0.0.0.0" }, ["proxy", "http://localhost:8080", "--json"]);
  expect([failed.code, JSON.parse(failed.out).code]).toEqual([2, "NOT_VALID"]);
  expect(readdirSync(state)).toEqual([]);
});

test("What is missing or not allowed is refused before a start, and a secret in a wrong place is not repeated", async () => {
  const cases: readonly (readonly [words: string[], said: RegExp])[] = [
    [[], /missing required argument 'url'/],
    [["api.github.com"], /the argument 'url' is not valid\. Allowed: an http or https URL .*like https:/],
    [[`https://u:${SECRET}@h/`], /without user info/],
    [[`https://h/?key=${SECRET}`], /without user info, query/],
    [["https://h/", "--token-env", SECRET], /^The variable that --token-env names is not set: /],
    [["https://h/", "--as", "Services"], /^--as is not valid\. Allowed: a-z/],
    [["https://h/", "--as", "manage"], /^--as is not valid\./],
    [["https://api.trello.com/", "--token-env", "PATH"], /^trello needs several secrets, .*services add trello/],
  ];
  const runs = await Promise.all(cases.map(([words]) => runCommand({}, ["proxy", ...words])));
  for (const [index, [words, said]] of cases.entries()) {
    expect(runs[index], words.join(" ")).toMatchObject({ code: 2, out: "", err: expect.stringMatching(said) });
    expect(runs[index]?.err).not.toContain(SECRET);
  }
}, 20_000);

describe("known APIs", () => {
  test.each([
    ["https://api.github.com", "github", { type: "bearer", tokenEnvVar: "MINE" }],
    ["https://api.anthropic.com/v1", "anthropic", { type: "api-key", headerName: "x-api-key", tokenEnvVar: "MINE" }],
    ["https://discord.com/api/v10", "discord", { type: "bot", tokenEnvVar: "MINE" }],
    ["https://api.openai.com", "openai", { type: "bearer", tokenEnvVar: "MINE" }],
    ["https://api.deepgram.com/", "deepgram", expect.objectContaining({ scheme: "Token ", tokenEnvVar: "MINE" })],
    ["https://api.telegram.org", "telegram", expect.objectContaining({ secrets: { token: { envVar: "MINE" } } })],
  ])("The secret for %s goes where its recipe %s sends it", (url, name, auth) => {
    const known = findKnownApi(new URL(url));
    expect([known?.name, withVariable(known?.service.auth, "MINE")]).toEqual([name, auth]);
  });

  test("Another host, scheme or port is no known API", () => {
    for (const url of ["https://api.github.com.evil.example", "http://api.github.com", "https://api.github.com:8443"]) {
      expect(findKnownApi(new URL(url)), url).toBeUndefined();
    }
  });
});

test("Without --token-env, a known API gets no secret of the environment, and the output names the option", async () => {
  const run = startProcess({ GITHUB_TOKEN: SECRET }, ["proxy", "https://api.github.com"]);
  const port = await run.port();
  const response = await fetch(`http://127.0.0.1:${port}/manage/explain`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ method: "GET", path: "/proxy/github/user" }),
  });
  const { credential, upstream } = (await response.json()) as {
    credential: { state: string };
    upstream: { url: string; headers: { added: { name: string }[] } };
  };
  const added = upstream.headers.added.map(({ name }) => name.toLowerCase());
  expect([credential?.state ?? "none", upstream.url]).toEqual(["none", "https://api.github.com/user"]);
  expect(added).toContain("x-github-api-version");
  expect(added).not.toContain("authorization");
  expect(run.err()).toMatch(/^No credential is sent to github: --token-env GITHUB_TOKEN /);
});
