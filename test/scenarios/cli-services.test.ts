/** `byteproxy services` as an operator runs it: a separate process that talks to a real gateway. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { startProcess } from "../support/process.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

/** A gateway, and commands with its address and key in their settings. */
async function startManaged() {
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", GITHUB_TOKEN: "a-token-for-github" },
  });
  const env = { PORT: String(gateway.port), MANAGEMENT_API_KEY: MANAGEMENT_KEY };
  return { gateway, env, byteproxy: (...words: string[]) => runCommand(env, words) };
}

describe("services", () => {
  test("Services are added, listed, tested and removed, with text and JSON output", async () => {
    const upstream = await startUpstream();
    const { gateway, byteproxy, env } = await startManaged();
    const proxied = async (key: string) => (await fetch(`${gateway.url}/proxy/${key}/`)).status;

    const input = JSON.stringify({ baseUrl: "http://127.0.0.1:1", methods: ["POST"] });
    const [plain, json] = await Promise.all([
      byteproxy("services", "add", "one", "--base-url", upstream.url),
      // An option takes precedence over the file.
      runCommand(env, ["services", "add", "two", "--json", "--file", "-", "--base-url", upstream.url], { input }),
    ]);
    expect(plain).toEqual({
      code: 0,
      err: "",
      out: `one is served from now on: /proxy/one/ leads to ${upstream.url}\n`,
    });
    expect(json).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(json.out)).toMatchObject({
      key: "two",
      source: "runtime",
      config: { baseUrl: upstream.url, methods: ["POST"] },
    });
    expect([await proxied("one"), await proxied("two")]).toEqual([200, 405]);

    const [table, list, tested, testedJson] = await Promise.all([
      byteproxy("services", "list"),
      byteproxy("services", "list", "--json"),
      byteproxy("services", "test", "one"),
      byteproxy("services", "test", "one", "--json"),
    ]);
    expect(table.out).toMatch(/^KEY +SOURCE +CREDENTIAL +BASE URL\n/);
    expect(table.out).toMatch(new RegExp(`^one +runtime +none +${upstream.url}$`, "m"));
    expect(table.out).toMatch(/^github +preset +present: GITHUB_TOKEN +https:\/\/api\.github\.com\/$/m);
    expect(JSON.parse(list.out).services.map(({ key }: { key: string }) => key)).toContain("two");
    expect(tested).toMatchObject({ code: 0, err: "" });
    expect(tested.out).toMatch(/^one is reachable: 200 in \d+ms \(connect .*\)\n$/);
    expect(JSON.parse(testedJson.out)).toMatchObject({ service: "one", status: "reachable", responseStatus: 200 });

    const [removed, removedJson] = await Promise.all([
      byteproxy("services", "remove", "one"),
      byteproxy("services", "remove", "two", "--json"),
    ]);
    expect(removed).toEqual({ code: 0, out: "Removed one\n", err: "" });
    expect(JSON.parse(removedJson.out)).toEqual({ key: "two", source: "runtime", removed: true });
    expect([await proxied("one"), await proxied("two")]).toEqual([404, 404]);
  }, 20_000);

  test("Options set a service's credential, within what the gateway's secret lock allows", async () => {
    const { byteproxy } = await startManaged();
    const auth = ["--auth", "bearer", "--token-env-var", "GITHUB_TOKEN"];
    const [own, elsewhere] = await Promise.all([
      byteproxy("services", "add", "gh", "--base-url", "https://api.github.com/repos/", ...auth),
      byteproxy("services", "add", "elsewhere", "--base-url", "https://example.com/", ...auth),
    ]);
    expect(own.out).toMatch(/^gh is served .* \(credential present: GITHUB_TOKEN\)\n$/);
    expect(elsewhere).toMatchObject({ code: 1, out: "" });
    expect(elsewhere.err).toMatch(/^GITHUB_TOKEN may not be used .*REST_SECRETS.*\n$/);
    expect(own.out + elsewhere.err).not.toContain("a-token-for-github");
  });

  test("Options set the scheme of a header, and the user name of a pair", async () => {
    const { byteproxy, env } = await startManaged();
    const base = ["--base-url", "https://example.com/", "--token-env-var", "GITHUB_TOKEN"];
    const [scheme, pair] = await Promise.all([
      byteproxy("services", "add", "a", ...base, "--auth", "api-key", "--header-name", "X-Key", "--scheme", "Token"),
      byteproxy("services", "add", "b", ...base, "--auth", "basic", "--username", "me:you"),
    ]);
    // The lock refuses the place, so the gateway has understood the options.
    expect(scheme).toMatchObject({ code: 1, err: expect.stringMatching(/^GITHUB_TOKEN may not be used/) });
    expect(pair).toMatchObject({ code: 2, err: expect.stringContaining("a user name without colons") });
    const both = await runCommand(env, [
      "services",
      "add",
      "b",
      ...base,
      "--auth",
      "basic",
      "--username",
      "a",
      "--username-env-var",
      "B",
    ]);
    expect(both.code).toBe(2);
  });

  test("A refused change exits with 1, one that is not valid with 2, and both with a reason", async () => {
    const upstream = await startUpstream();
    const { byteproxy, env } = await startManaged();
    const config = JSON.stringify({ baseUrl: "ftp://x", retrys: 2 });
    const [invalid, invalidJson, duplicate, readOnly, unknown, unreachable, wrongKey, noKey] = await Promise.all([
      byteproxy("services", "add", "x", "--config", config),
      byteproxy("services", "add", "x", "--config", config, "--json"),
      byteproxy("services", "add", "github", "--base-url", upstream.url),
      byteproxy("services", "remove", "github"),
      byteproxy("services", "test", "githb"),
      byteproxy("services", "add", "dead", "--base-url", "http://127.0.0.1:1").then(() =>
        byteproxy("services", "test", "dead"),
      ),
      runCommand({ ...env, MANAGEMENT_API_KEY: "wrong-key-0123456789" }, ["services", "list"]),
      runCommand({ PORT: env.PORT }, ["services", "list"]),
    ]);
    expect(invalid).toMatchObject({ code: 2, out: "" });
    expect(invalid.err.split("\n")).toEqual([
      "The service is not valid: baseUrl, retrys.",
      expect.stringMatching(/^ {2}baseUrl: found "ftp:\/\/x", allowed: /),
      expect.stringMatching(/^ {2}retrys: .*did you mean "retries"/),
      "",
    ]);
    expect([invalidJson.code, JSON.parse(invalidJson.out).code]).toEqual([2, "VALIDATION_ERROR"]);
    expect([duplicate.code, duplicate.err]).toEqual([1, expect.stringMatching(/^A service github exists already\./)]);
    expect([readOnly.code, readOnly.err]).toEqual([1, expect.stringMatching(/^github was not added over REST\./)]);
    expect([unknown.code, unknown.err]).toEqual([
      1,
      expect.stringMatching(/Did you mean "github"\? byteproxy services list shows all services\.\n$/),
    ]);
    expect([unreachable.code, unreachable.out]).toEqual([1, ""]);
    expect(unreachable.err).toMatch(/^dead is unreachable \(connect\): [^\n]+\n$/);
    expect([wrongKey.code, wrongKey.err]).toEqual([
      1,
      expect.stringMatching(/not valid\. It was read from MANAGEMENT_API_KEY \(environment\)\.\n$/),
    ]);
    expect([noKey.code, noKey.err]).toEqual([1, expect.stringMatching(/Set MANAGEMENT_API_KEY or .*_FILE/)]);
  }, 20_000);

  test("Commands use the second listener, and a management key from a file", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, MANAGEMENT_PORT: "0" } });
    const second = new URL(gateway.managementUrl ?? "").port;
    const files = { key: `${MANAGEMENT_KEY}\n`, ".env": `PORT=${gateway.port}\nMANAGEMENT_PORT=${second}\n` };
    const env = { PORT: "", MANAGEMENT_API_KEY_FILE: "key" };
    const [found, missed] = await Promise.all([
      runCommand(env, ["services", "list"], { files }),
      runCommand(env, ["services", "list", "--url", gateway.url], { files }),
    ]);
    expect([found.code, found.out]).toEqual([0, expect.stringMatching(/^github /m)]);
    expect([missed.code, missed.err]).toEqual([
      1,
      expect.stringContaining("(MANAGEMENT_PORT): name that address with --url"),
    ]);
  });
});

describe("wrong use", () => {
  const SECRET = "a-secret-that-is-not-repeated";

  test("Wrong use exits with 2 and says what is allowed, without a value that may be a secret", async () => {
    const cases: readonly (readonly [words: string[], said: RegExp])[] = [
      [["servces"], /^Unknown: servces \(Did you mean services\?\)/],
      [["services", "lst"], /^Unknown: services lst \(Did you mean list\?\)/],
      [["services", "add", "x", "--base-ur", "y"], /^Unknown: services add --base-ur \(Did you mean --base-url\?\)/],
      [["services", "list", `--management-key=${SECRET}`], /^Unknown: services list --management-key\n/],
      [
        ["services", "list", "--url", `http://u:${SECRET}@h`],
        /^byteproxy services list: option '--url <url>' is not valid\./,
      ],
      [["services", "list", "--url", "http://h", "--offline"], /'--offline' cannot be used with option '--url <url>'/],
      [["services", "add", "x"], /^services add needs --base-url/],
      [["services", "add", "x", "--base-url", "http://h", "--token-file", "f"], /need --auth/],
      [["services", "add", "x", "--config", `{"headers": {"X-Key": "${SECRET}"`], /^--config:1:\d+: found/],
      [
        ["services", "add", "x", "--file", "absent.json"],
        /^--file absent\.json cannot be read: there is no such file\n/,
      ],
      [["services", "list"], /^The settings let the system choose the port \(0\)/],
    ];
    const runs = await Promise.all(cases.map(([words]) => runCommand({}, words)));
    for (const [index, [words, said]] of cases.entries()) {
      expect(runs[index], words.join(" ")).toMatchObject({ code: 2, out: "", err: expect.stringMatching(said) });
      expect(runs[index]?.err).not.toContain(SECRET);
      expect(runs[index]?.err).not.toMatch(/^\s+at /m);
    }
  }, 20_000);
});

test("No gateway, or another server at its address, exits with 1 and one line", async () => {
  const server = await startUpstream((_, res) => res.writeHead(302, { Location: "http://127.0.0.1:1/" }).end("moved"));
  const [absent, other] = await Promise.all([
    runCommand({}, ["services", "list", "--url", "http://127.0.0.1:1"]),
    runCommand({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, ["services", "list", "--json", "--url", server.url]),
  ]);
  expect(absent).toEqual({
    code: 1,
    out: "",
    err: "No gateway responds at http://127.0.0.1:1. Is it running? (byteproxy start)\n",
  });
  expect([other.code, JSON.parse(other.out).code]).toEqual([1, "GATEWAY_UNREACHABLE"]);
  expect(other.err).toMatch(/^http:\S+ responded with 302, but not as ByteProxy does[^\n]*\n$/);
});

test("A reader that closes the pipe early is not a failure", async () => {
  const { env } = await startManaged();
  const run = startProcess(env, ["services", "list", "--json"]);
  run.child.stdout?.destroy();
  expect(await run.ended).toBe(0);
  expect(run.err()).toBe("");
});
