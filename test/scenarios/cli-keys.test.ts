/** `byteproxy keys`: the requests it sends, what it prints to stdout and stderr, and what it never shows. */
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startProcess } from "../support/process.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const KEY = "bp_0123456789abcdefghijklmnopqrstuvwxyz0123456789";

const item = {
  id: "k1",
  name: "ci",
  permissions: ["github:read", "npm:read"],
  createdAt: "2026-11-21T12:00:00.000Z",
  expiresAt: null,
  revokedAt: null,
  rateLimit: null,
  allowIps: null,
  lastUsedAt: null,
  uses: 3,
  state: "active",
};

interface Asked {
  readonly line: string;
  readonly key: string | string[] | undefined;
  readonly body: unknown;
}

/** A server in place of `/manage/keys` that records its requests. */
async function startKeys(respond: (req: IncomingMessage) => readonly [status: number, body?: unknown]) {
  const asked: Asked[] = [];
  const { url } = await startUpstream((req, res) => {
    void text(req).then((body) => {
      const parsed: unknown = body === "" ? undefined : JSON.parse(body);
      asked.push({ line: `${req.method} ${req.url}`, key: req.headers["x-api-key"], body: parsed });
      const [status, responseBody] = respond(req);
      res.writeHead(status, { "content-type": "application/json" });
      res.end(responseBody === undefined ? undefined : JSON.stringify(responseBody));
    });
  });
  const keys = (...words: string[]) =>
    runCommand({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, ["keys", ...words, "--url", url]);
  return { url, asked, keys };
}

describe("keys", () => {
  test("A created key is the only output on stdout, and all options are in the request", async () => {
    const { asked, keys } = await startKeys(() => [201, { ...item, key: KEY }]);
    const permissions = ["--permissions", "github:read, npm:GET:/a,b/**", "--permissions", "*:HEAD"];
    const limits = [
      "--rate-limit",
      "100/60s",
      "--allow-ip",
      "10.0.0.0/8",
      "--client-cert",
      "ci.test",
      ...["--budget", "100000/day", "--model", "gpt-4o*", "--model", "o3"],
      "--expires-at",
      "2099-01-31",
    ];
    const run = await keys("create", "--name", "ci", ...permissions, ...limits);
    expect([run.code, run.out]).toEqual([0, `${KEY}\n`]);
    expect(run.err).toMatch(
      /^The key ci \(k1\) allows github:read npm:read and does not expire\. Store it now: it cannot be shown again\.\n$/,
    );
    expect(asked).toEqual([
      {
        line: "POST /manage/keys",
        key: MANAGEMENT_KEY,
        body: {
          name: "ci",
          permissions: ["github:read", "npm:GET:/a,b/**", "*:HEAD"],
          allowIps: ["10.0.0.0/8"],
          clientCert: "ci.test",
          budget: { tokens: 100_000, per: "day" },
          models: ["gpt-4o*", "o3"],
          expiresAt: "2099-01-31T00:00:00.000Z",
          rateLimit: { maxRequests: 100, windowMs: 60_000 },
        },
      },
    ]);
  });

  test("The option --expires-in sets the expiry from now, and --json prints the response", async () => {
    const { asked, keys } = await startKeys(() => [201, { ...item, key: KEY }]);
    const run = await keys("create", "--name", "ci", "--permissions", "*:read", "--expires-in", "30d", "--json");
    expect([run.code, JSON.parse(run.out), run.err]).toEqual([0, { ...item, key: KEY }, ""]);
    const [{ body }] = asked as [Asked];
    const { expiresAt, ...rest } = body as { expiresAt: string };
    expect(rest).toEqual({ name: "ci", permissions: ["*:read"] });
    expect(Math.abs(Date.parse(expiresAt) - Date.now() - 30 * 86_400_000)).toBeLessThan(60_000);
  });

  test("Keys are listed, rotated and revoked, and printed without control characters", async () => {
    const { asked, keys } = await startKeys(({ method }) => {
      if (method === "GET") return [200, { keys: [{ ...item, name: "c\u001b[31mi" }], count: 1 }];
      return method === "DELETE" ? [204] : [200, { ...item, key: KEY }];
    });
    const list = await keys("list");
    expect(list.out).toBe(
      "ID  NAME     PERMISSIONS           STATE   EXPIRES  LAST USED  USES\n" +
        "k1  c [31mi  github:read npm:read  active  never    never      3\n",
    );
    const rotated = await keys("rotate", "k1", "--grace", "3600");
    expect([rotated.code, rotated.out]).toEqual([0, `${KEY}\n`]);
    expect(await keys("revoke", "k1")).toEqual({ code: 0, out: "Revoked k1\n", err: "" });
    const revoked = await keys("revoke", "../services/github", "--json");
    expect(JSON.parse(revoked.out)).toEqual({ id: "../services/github", revoked: true });
    expect(asked.map(({ line, body }) => [line, body])).toEqual([
      ["GET /manage/keys", undefined],
      ["POST /manage/keys/k1/rotate", { graceSeconds: 3600 }],
      ["DELETE /manage/keys/k1", undefined],
      ["DELETE /manage/keys/..%2Fservices%2Fgithub", undefined],
    ]);
  });
});

test("A refusal, or a missing route, is one line on stderr, with the response on stdout for --json", async () => {
  const forbidden = {
    error: "Insufficient permissions",
    code: "INSUFFICIENT_PERMISSIONS",
    status: 403,
    message: "This needs manage:keys.",
    hint: "Use a key that has it.",
  };
  const [refusing, older] = await Promise.all([
    startKeys(() => [403, forbidden]),
    startKeys(() => [404, { code: "NOT_FOUND", message: "There is nothing at this path." }]),
  ]);
  const [refused, missing] = await Promise.all([refusing.keys("list", "--json"), older.keys("list")]);
  expect([refused.code, JSON.parse(refused.out), refused.err]).toEqual([
    ...[1, forbidden],
    "This needs manage:keys. Use a key that has it.\n",
  ]);
  expect([missing.code, missing.out]).toEqual([1, ""]);
  expect(missing.err).toMatch(
    /^There is no route http:\S+\/manage\/keys\. The gateway's version does not have it[^\n]*\n$/,
  );
});

test("Wrong use exits with 2 and says what is allowed", async () => {
  const cases: readonly (readonly [words: string[], said: RegExp])[] = [
    [["keys", "create", "--name", "ci"], /required option '--permissions <list>' not specified/],
    [["keys", "create", "--permissions", "a:read"], /required option '--name <name>' not specified/],
    [["keys", "create", "--name", "ci", "--permissions", "a:read", "--rate-limit", "100"], /like 100\/60s/],
    [["keys", "create", "--name", "ci", "--permissions", "a:read", "--expires-at", "2027-02-31"], /like 2027-01-31/],
    [["keys", "create", "--name", "ci", "--permissions", "a:read", "--expires-in", "soon"], /like 30d/],
    [["keys", "create", "--name", "ci", "--permissions", "a:read", "--expires-in", "999999999w"], /like 30d/],
    [["keys", "rotate", "k1", "--grace", "1h"], /a number of seconds/],
    [["keys", "revok", "k1"], /^Unknown: keys revok \(Did you mean revoke\?\)/],
    [["keys", "list", "--offline", "--url", "http://127.0.0.1:1"], /cannot be used with option '--url <url>'/],
  ];
  const runs = await Promise.all(cases.map(([words]) => runCommand({}, words)));
  for (const [index, [words, said]] of cases.entries()) {
    expect(runs[index], words.join(" ")).toMatchObject({ code: 2, out: "", err: expect.stringMatching(said) });
  }
});

test.runIf(process.platform === "linux")("The management key is in no argument of a running command", async () => {
  let seen = "";
  const { url } = await startKeys(() => {
    seen = readFileSync(`/proc/${run.child.pid}/cmdline`, "latin1");
    return [200, { keys: [], count: 0 }];
  });
  const run = startProcess({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, ["keys", "list", "--url", url]);
  expect(await run.ended).toBe(0);
  expect(seen).toContain("keys");
  expect(seen).not.toContain(MANAGEMENT_KEY);
  expect(run.out() + run.err()).not.toContain(MANAGEMENT_KEY);
});

test("Keys of a real gateway are created, used, rotated and revoked by commands", async () => {
  const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
  const keys = (...words: string[]) =>
    runCommand({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, ["keys", ...words, "--url", gateway.url]);
  const ask = async (key: string) =>
    (await fetch(`${gateway.url}/proxy/echo/x`, { headers: { "x-api-key": key } })).status;
  const made = await keys(
    "create",
    "--name",
    "ci",
    "--permissions",
    "echo:read",
    "--expires-in",
    "30d",
    "--rate-limit",
    "100/60s",
  );
  const key = made.out.trim();
  expect([made.code, await ask(key)]).toEqual([0, 200]);
  const listed = JSON.parse((await keys("list", "--json")).out) as { keys: { id: string; uses: number }[] };
  expect(listed.keys).toMatchObject([{ name: "ci", uses: 1, rateLimit: { maxRequests: 100, windowMs: 60_000 } }]);
  const id = listed.keys[0]?.id as string;
  const rotated = await keys("rotate", id, "--grace", "60");
  expect([rotated.code, await ask(key), await ask(rotated.out.trim())]).toEqual([0, 200, 200]);
  expect((await keys("revoke", id)).code).toBe(0);
  expect([await ask(key), await ask(rotated.out.trim())]).toEqual([401, 401]);
  expect((await keys("revoke", "key_nothing")).err).toMatch(/^There is no key with this id\. [^\n]+\n$/);
  const refused = await keys("create", "--name", "x", "--permissions", "echo");
  expect([refused.code, refused.out]).toEqual([2, ""]);
  expect(refused.err).toContain("permissions");
});
