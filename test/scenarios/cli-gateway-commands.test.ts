/** `status`, `explain`, `quota`, `audit`, `reload` and `services show|update` as an operator runs them. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-upstream";

const UPDATE = ["services", "update", "app"];

/** A gateway with one service, and commands with its address and key in their settings. */
async function startManaged() {
  const upstream = await startUpstream((_, res) => {
    res.setHeader("x-ratelimit-limit", "60");
    res.setHeader("x-ratelimit-remaining", "42");
    res.setHeader("x-ratelimit-reset", "3600");
    res.end("{}");
  });
  const auth = { type: "bearer", tokenEnvVar: "APP_TOKEN" } as const;
  const gateway = await startGateway({
    env: {
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      APP_TOKEN: SECRET,
    },
    services: { app: { baseUrl: upstream.url, auth, rateLimit: { maxRequests: 5, windowMs: 60_000 } } },
  });
  const env = { PORT: String(gateway.port), MANAGEMENT_API_KEY: MANAGEMENT_KEY };
  const ask = async (path: string, method = "GET") => {
    const response = await fetch(`${gateway.url}${path}`, { method, headers: { "x-api-key": MANAGEMENT_KEY } });
    return (await response.json()) as Record<string, unknown>;
  };
  await fetch(`${gateway.url}/proxy/app/`, { headers: { "x-api-key": PROXY_KEY } });
  return { gateway, env, ask, byteproxy: (...words: string[]) => runCommand(env, words) };
}

test("Each command shows its route as text, and the unchanged response with --json, without a secret", async () => {
  const { byteproxy, ask } = await startManaged();
  const runs = await Promise.all([
    byteproxy("status"),
    byteproxy("quota"),
    byteproxy("explain", "get", "/proxy/app/x?q=1", "--caller", "proxy-key", "--header", "Accept: text/plain"),
    byteproxy("explain", "GET", "/proxy/app/x"),
    byteproxy("quota", "--json"),
    byteproxy("explain", "GET", "/proxy/app/x", "--json"),
    byteproxy("status", "--json"),
  ]);
  const [status, quota, explained, refused, quotaJson, explainedJson, statusJson] = runs;
  for (const run of runs) {
    expect([run.code, run.err]).toEqual([0, ""]);
    expect(run.out).not.toContain(SECRET);
    expect(run.out).not.toContain("\u001b");
  }
  expect(status.out).toMatch(/^ByteProxy \S+ at http:\S+: ok, running for \d+ .*\n\d+ requests? in flight/);
  expect(status.out).toMatch(
    /^app +present: APP_TOKEN +0 +closed +4 of 5 left in \S+ \S+ +42 of 60 left for (?:1 h 0|59) min/m,
  );
  expect(quota.out).toMatch(/^SERVICE \(MODE\) .*\napp \(observe\) +APP_TOKEN +- +42 of 60 +\S+.* +0 +open\n$/);
  expect(explained.out).toMatch(/^GET \/proxy\/app\/x\?q=\*\*\* by the caller proxy-key: forwarded to app\n/);
  expect(explained.out).toMatch(/^ {2}authenticate +pass$/m);
  expect(explained.out).toMatch(/^ {2}\+ Authorization: \*\*\*$/m);
  expect(explained.out).toMatch(/^ {4}Accept: text\/plain$/m);
  expect(explained.out).toMatch(/^credential +present: bearer from APP_TOKEN, in header Authorization, fingerprint /m);
  expect(refused.out).toMatch(/^GET \/proxy\/app\/x without a known caller: refused with 401 MISSING_CREDENTIALS\n/);
  expect(refused.out).toMatch(/^ {2}authenticate +refuse {2}MISSING_CREDENTIALS$/m);
  expect(refused.out).toMatch(/^ {2}\S.* {2}\(not reached\)$/m);
  expect(refused.out).toMatch(/^ {2}fix: {2}\S.*\n {2}key: {2}.*x-api-key/m);
  expect(refused.out).toContain("Without the refusal, the gateway would send:");

  const idsOf = ({ services }: Record<string, unknown>) =>
    (services as { service: string }[]).map((each) => each.service);
  expect(idsOf(JSON.parse(quotaJson.out))).toEqual(idsOf(await ask("/manage/quota")));
  expect(Object.keys(JSON.parse(statusJson.out))).toEqual(Object.keys(await ask("/status")));
  expect(JSON.parse(explainedJson.out)).toMatchObject({ verdict: "refuse", refusal: { code: "MISSING_CREDENTIALS" } });
}, 20_000);

test("A service is shown, changed member by member, and its changes are in the audit", async () => {
  const { byteproxy, env } = await startManaged();
  const [shown, shownJson] = await Promise.all([
    byteproxy("services", "show", "app"),
    byteproxy("services", "show", "app", "--json"),
  ]);
  const changed = await byteproxy(...UPDATE, "--config", '{"timeoutMs": 1234, "rateLimit": null}');
  expect(shown.out).toMatch(/^KEY .*\napp +file +present: APP_TOKEN +[0-9a-f]{8}\n\{\n {2}"baseUrl"/);
  expect(JSON.parse(shownJson.out)).toMatchObject({ key: "app", config: { auth: { tokenEnvVar: "APP_TOKEN" } } });
  expect(changed).toEqual({ code: 0, err: "", out: "app is changed from now on: timeoutMs 1234, rateLimit removed\n" });
  // Alone: of two updates at once, one is refused.
  const update = ["services", "update", "app", "--json", "--file", "-"];
  const fromFile = await runCommand(env, update, { input: "methods: [GET]\n" });
  const [audit, auditJson, second, nothing, invalid, reloaded, unknown] = await Promise.all([
    byteproxy("audit", "--limit", "1"),
    byteproxy("audit", "--json"),
    byteproxy("services", "add", "app", "--base-url", "https://example.com/"),
    byteproxy("services", "update", "app"),
    byteproxy("services", "update", "app", "--config", '{"timeoutMs": "soon"}'),
    byteproxy("reload"),
    byteproxy("services", "show", "ap"),
  ]);
  expect(JSON.parse(fromFile.out)).toMatchObject({ source: "override", config: { timeoutMs: 1234, methods: ["GET"] } });
  expect(audit.out).toMatch(/^TIME +CALLER +ADDRESS +ACTION +SUBJECT +MEMBERS\n.*\n$/);
  const entries = JSON.parse(auditJson.out).entries as { action: string; subject?: string }[];
  expect(entries).toContainEqual(expect.objectContaining({ action: "service.patch", subject: "app" }));
  expect([second.code, second.err]).toEqual([
    1,
    expect.stringMatching(/^A service app exists already\. Change it with byteproxy services update .*--config/),
  ]);
  expect([nothing.code, nothing.err]).toEqual([2, expect.stringMatching(/^services update needs --config or --file/)]);
  expect([invalid.code, invalid.err]).toEqual([2, expect.stringMatching(/timeoutMs: found "soon"/)]);
  expect(reloaded).toMatchObject({ code: 0, out: "The configuration was reloaded: no service changed.\n" });
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringMatching(/Did you mean "app"\?/)]);
}, 20_000);

test("A change that another operator makes meanwhile is not overwritten", async () => {
  const item = { key: "app", source: "file", config: {}, credential: { state: "none", source: null } };
  const asked: (string | undefined)[] = [];
  const other = await startUpstream((req, res) => {
    asked.push(`${req.method} ${req.headers["if-match"]}`);
    const body =
      req.method === "GET"
        ? item
        : { error: "Precondition failed", code: "PRECONDITION_FAILED", message: "It does not match.", status: 412 };
    res.writeHead(req.method === "GET" ? 200 : 412, { "Content-Type": "application/json", ETag: '"one"' });
    res.end(JSON.stringify(body));
  });
  const run = await runCommand({}, ["services", "update", "app", "--config", '{"ws":true}', "--url", other.url]);
  expect(asked).toEqual(["GET undefined", 'PATCH "one"']);
  expect([run.code, run.err]).toEqual([
    1,
    "It does not match. It was changed at the same time: run the command again.\n",
  ]);
});

describe("failures", () => {
  test("With --json, each failure is JSON with an error on stdout, and the exit code stays", async () => {
    const away = ["--url", "http://127.0.0.1:1"];
    const cases: readonly (readonly [words: string[], code: number, error: string])[] = [
      [["status", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["quota", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["reload", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["audit", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["logs", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["explain", "GET", "/proxy/app/", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["services", "list", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["keys", "revoke", "x", ...away], 1, "GATEWAY_UNREACHABLE"],
      [["services", "add", "x"], 2, "NOT_VALID"],
      [["services", "lst"], 2, "WRONG_USE"],
      [["services"], 2, "WRONG_USE"],
      [["audit", "--limit", "0"], 2, "WRONG_USE"],
      [["strat"], 2, "WRONG_USE"],
      [["start", "--port", "x"], 2, "NOT_VALID"],
      [["proxy", "https://api.github.com", "--token-env", "ABSENT"], 2, "NOT_VALID"],
    ];
    const runs = await Promise.all(cases.map(([words]) => runCommand({}, [...words, "--json"])));
    for (const [index, [words, code, error]] of cases.entries()) {
      const run = runs[index];
      const printed = JSON.parse(run?.out ?? "") as Record<string, unknown>;
      expect([run?.code, printed.code], words.join(" ")).toEqual([code, error]);
      expect(printed.error, words.join(" ")).toEqual(expect.any(String));
      expect(run?.err.startsWith(String(printed.message)), `${words.join(" ")}: ${run?.err}`).toBe(true);
    }
  }, 30_000);

  test("A mistyped id, a revoked key and a path that is not proxied are named with what to do", async () => {
    const { byteproxy, env } = await startManaged();
    const created = await byteproxy("keys", "create", "--json", "--name", "op", "--permissions", "manage:*");
    const { id, key } = JSON.parse(created.out) as { id: string; key: string };
    const typo = `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`;
    const [mistyped, path] = await Promise.all([
      byteproxy("keys", "revoke", typo),
      byteproxy("explain", "GET", "/app/"),
    ]);
    expect([mistyped.code, mistyped.err]).toEqual([
      1,
      expect.stringMatching(/^There is no key with this id\. .*(?:keys list|\/manage\/keys)/),
    ]);
    expect([path.code, path.err]).toEqual([
      2,
      expect.stringMatching(/^The request cannot be explained\.\n {2}path: allowed: a path that begins with \/proxy\//),
    ]);
    expect((await byteproxy("keys", "revoke", id)).code).toBe(0);
    const revoked = await runCommand({ ...env, MANAGEMENT_API_KEY: key }, ["keys", "list"]);
    expect([revoked.code, revoked.err]).toEqual([
      1,
      expect.stringMatching(/revoked.* It was read from MANAGEMENT_API_KEY \(environment\)\.\n$/),
    ]);
    expect(revoked.err).not.toContain(key);
  }, 20_000);
});
