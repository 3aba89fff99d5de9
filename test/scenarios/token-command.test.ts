/** Credentials that a command prints, with real commands, a real gateway and a real upstream. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

/** A command that counts its runs and prints what a file holds. */
function openCommand(secret = "first-secret-of-the-command", before = "") {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-token-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [script, value, runs] = ["print", "value", "runs"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(script, `#!/bin/sh\necho run >> '${runs}'\n${before}\ncat '${value}'\n`);
  chmodSync(script, 0o755);
  const print = (text: string) => writeFileSync(value, text);
  print(secret);
  return {
    folder,
    script,
    print,
    fail: () => rmSync(value, { force: true }),
    get runs() {
      return existsSync(runs) ? readFileSync(runs, "utf8").trim().split("\n").length : 0;
    },
  };
}

const bearer = (command: readonly string[], more: object = {}): NonNullable<ServiceInput["auth"]> => ({
  type: "bearer",
  tokenCommand: [...command],
  ...more,
});

/** Accepts only the secrets in the set, and shows what it got. */
async function startVendor(accepted: Set<string>) {
  return startUpstream((req, res) => {
    req.resume();
    req.on("end", () => {
      const authorization = String(req.headers.authorization);
      res.statusCode = accepted.has(authorization.replace("Bearer ", "")) ? 200 : 401;
      res.setHeader("x-got", authorization);
      res.end(res.statusCode === 200 ? "ok" : "refused by the vendor");
    });
  });
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };

describe("A command's secret", () => {
  test("The command runs at the first request, and its secret is injected into this and later ones", async () => {
    const command = openCommand();
    const vendor = await startVendor(new Set(["first-secret-of-the-command"]));
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } },
    });
    expect(command.runs).toBe(0);
    for (let at = 0; at < 3; at++) expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
    expect(vendor.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array(3).fill("Bearer first-secret-of-the-command"),
    );
    expect(command.runs).toBe(1);
  });

  test("100 requests at once need one run, and other services do not wait for it", async () => {
    const gate = openCommand("slow-secret-of-the-command");
    const release = join(gate.folder, "release");
    const command = openCommand("slow-secret-of-the-command", `while [ ! -e '${release}' ]; do sleep 0.02; done`);
    const vendor = await startVendor(new Set(["slow-secret-of-the-command"]));
    const other = await startUpstream();
    const { url } = await startGateway({
      env: { PRESSURE_MAX_EVENT_LOOP_DELAY: "0" },
      services: {
        api: { baseUrl: vendor.url, auth: bearer([command.script]) },
        other: { baseUrl: other.url },
      },
    });
    const waiting = Promise.all(Array.from({ length: 100 }, () => ask(`${url}/proxy/api/x`)));
    await eventually(() => command.runs === 1, "the start of the command");
    expect((await ask(`${url}/proxy/other/x`)).status).toBe(200);
    expect(vendor.requests).toHaveLength(0);
    writeFileSync(release, "");
    expect(new Set((await waiting).map(({ status }) => status))).toEqual(new Set([200]));
    expect(command.runs).toBe(1);
  });

  test("Services with the same command share its run and its secret", async () => {
    const command = openCommand();
    const vendor = await startVendor(new Set(["first-secret-of-the-command"]));
    const services = { baseUrl: vendor.url, auth: bearer([command.script]) };
    const { url } = await startGateway({ services: { one: services, two: services } });
    for (const key of ["one", "two"]) expect((await ask(`${url}/proxy/${key}/x`)).status).toBe(200);
    expect(command.runs).toBe(1);
  });

  test("A scheme that the command prints is sent once", async () => {
    const command = openCommand("Bearer first-secret-of-the-command\n");
    const vendor = await startVendor(new Set(["first-secret-of-the-command"]));
    const { url } = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
  });

  test("A custom credential joins the secrets of a command and of a variable", async () => {
    const command = openCommand();
    const vendor = await startUpstream();
    const auth: ServiceInput["auth"] = {
      type: "custom",
      secrets: { id: { envVar: "CLIENT_ID" }, token: { command: [command.script], ttlSeconds: 60 } },
      headers: { "X-Client": "{id}", "X-Auth": "v1 {token}" },
    };
    const { url } = await startGateway({
      env: { CLIENT_ID: "the-client-id" },
      services: { api: { baseUrl: vendor.url, auth } },
    });
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
    expect(vendor.requests[0]?.headers).toMatchObject({
      "x-client": "the-client-id",
      "x-auth": "v1 first-secret-of-the-command",
    });
  });

  test("The command inherits the environment and the env files, but no key of the gateway, under any name", async () => {
    const command = openCommand("", "");
    writeFileSync(
      command.script,
      `#!/bin/sh\necho run >> '${command.folder}/runs'\nenv > '${command.folder}/env'\npwd > '${command.folder}/pwd'\necho secret-of-the-command\n`,
    );
    const vendor = await startVendor(new Set(["secret-of-the-command"]));
    const gateway = await startGateway({
      env: {
        PATH: process.env.PATH ?? "",
        PROXY_API_KEY: PROXY_KEY,
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        REST_SECRETS: "SOME_TOKEN@https://api.example.com",
        COPY_OF_A_KEY: `Bearer ${PROXY_KEY}`,
        VAULT_TOKEN: "for-the-command",
      },
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } },
    });
    const { status } = await ask(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } });
    expect(status).toBe(200);
    const inherited = readFileSync(join(command.folder, "env"), "utf8");
    expect(inherited).toContain("VAULT_TOKEN=for-the-command");
    expect(inherited).not.toMatch(/PROXY_API_KEY|MANAGEMENT_API_KEY|REST_SECRETS|COPY_OF_A_KEY/);
    expect(inherited).not.toContain(PROXY_KEY);
    expect(inherited).not.toContain(MANAGEMENT_KEY);
    expect(readFileSync(join(command.folder, "pwd"), "utf8").trim()).toMatch(new RegExp(`${gateway.directory}$`));
  });
});

describe("A renewed secret", () => {
  test("After its TTL the command runs again", async () => {
    const command = openCommand();
    const vendor = await startVendor(new Set(["first-secret-of-the-command", "second-secret-of-the-command"]));
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script], { tokenCommandTtlSeconds: 1 }) } },
    });
    await ask(`${url}/proxy/api/x`);
    command.print("second-secret-of-the-command");
    await eventually(async () => {
      const { headers } = await ask(`${url}/proxy/api/x`);
      return vendor.requests.at(-1)?.headers.authorization === "Bearer second-secret-of-the-command" && headers;
    }, "the second secret");
  });

  test("After a 401 the command runs once, and a request that can be sent again succeeds with the new secret", async () => {
    const command = openCommand();
    const accepted = new Set(["first-secret-of-the-command"]);
    const vendor = await startVendor(accepted);
    const gateway = await startGateway({
      services: { api: { baseUrl: vendor.url, retries: 0, auth: bearer([command.script]) } },
    });
    await ask(`${gateway.url}/proxy/api/x`);
    accepted.clear();
    accepted.add("second-secret-of-the-command");
    command.print("second-secret-of-the-command");
    const all = await Promise.all(Array.from({ length: 5 }, () => ask(`${gateway.url}/proxy/api/x`)));
    expect(all.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(command.runs).toBe(2);
    const put = await ask(`${gateway.url}/proxy/api/x`, { method: "PUT", body: "a body" });
    expect(put.status).toBe(200);
    const attempts = gateway.exchanges().map(({ attempts, outcome }) => [attempts, outcome]);
    expect(attempts).toContainEqual([2, "relayed"]);
    expect(attempts.every(([, outcome]) => outcome === "relayed")).toBe(true);
  });

  test("A POST that was refused is never repeated, and the next request has the new secret", async () => {
    const command = openCommand();
    const accepted = new Set(["second-secret-of-the-command"]);
    const vendor = await startVendor(accepted);
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script], {}) } },
    });
    await eventually(async () => (await ask(`${url}/proxy/api/first`)).status === 401);
    const before = vendor.requests.length;
    command.print("second-secret-of-the-command");
    await eventually(async () => {
      const { status, text } = await ask(`${url}/proxy/api/x`, { method: "POST", body: "a body" });
      if (status === 401) expect(text).toBe("refused by the vendor");
      return status === 200;
    }, "a POST with the new secret");
    const posts = vendor.requests.slice(before);
    expect(posts.every(({ method }) => method === "POST")).toBe(true);
    expect(posts.filter(({ headers }) => headers.authorization?.includes("second")).length).toBe(1);
  });

  test("If the new secret is refused too, the client gets the vendor's 401, and the command does not run for each request", async () => {
    const command = openCommand();
    const vendor = await startVendor(new Set());
    const { url } = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    for (let at = 0; at < 20; at++) {
      const { status, text } = await ask(`${url}/proxy/api/x`);
      expect([status, text]).toEqual([401, "refused by the vendor"]);
    }
    expect(command.runs).toBeLessThan(6);
    expect(vendor.requests.length).toBeLessThan(26);
  });

  test("If the command fails after a 401, the client gets the vendor's 401", async () => {
    const command = openCommand();
    const vendor = await startVendor(new Set());
    const { url } = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(401);
    command.fail();
    const { status, text } = await ask(`${url}/proxy/api/x`);
    expect([status, text]).toEqual([401, "refused by the vendor"]);
  });

  test("403 renews nothing", async () => {
    const command = openCommand();
    const vendor = await startUpstream((_, res) => {
      res.statusCode = 403;
      res.end();
    });
    const { url } = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    for (let at = 0; at < 3; at++) expect((await ask(`${url}/proxy/api/x`)).status).toBe(403);
    expect([command.runs, vendor.requests.length]).toEqual([1, 3]);
  });

  test("The secret before the current one still does not come back, and neither is logged", async () => {
    const command = openCommand();
    const vendor = await startUpstream((req, res) => {
      res.setHeader("x-current", String(req.headers.authorization));
      res.setHeader("x-before", "was first-secret-of-the-command, now gone");
      res.setHeader("x-encoded", Buffer.from("a:first-secret-of-the-command").toString("base64"));
      res.end();
    });
    const gateway = await startGateway({
      env: { LOG_LEVEL: "trace" },
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script], { tokenCommandTtlSeconds: 1 }) } },
    });
    await ask(`${gateway.url}/proxy/api/x`);
    command.print("second-secret-of-the-command");
    const headers = await eventually(async () => {
      const answer = await ask(`${gateway.url}/proxy/api/first-secret-of-the-command/second-secret-of-the-command`);
      return vendor.requests.at(-1)?.headers.authorization?.includes("second") && answer.headers;
    }, "the second secret");
    expect(headers.get("x-current")).toBe("Bearer ***");
    expect(headers.get("x-before")).toBe("was ***, now gone");
    expect(headers.get("x-encoded")).not.toContain("Zmlyc3Q");
    await ask(`${gateway.url}/manage/services/first-secret-of-the-command`);
    const warnings = gateway.lines().filter(({ msg }) => msg !== "request");
    expect(JSON.stringify(warnings)).not.toMatch(/(?:first|second)-secret/);
  });

  test("A renewed secret spends the same quota", async () => {
    const command = openCommand();
    let remaining = 100_000;
    const vendor = await startUpstream((_, res) => {
      remaining--;
      res.setHeader("x-ratelimit-limit", "100000");
      res.setHeader("x-ratelimit-remaining", String(remaining));
      res.setHeader("x-ratelimit-reset", String(Math.ceil(Date.now() / 1000) + 3600));
      res.end();
    });
    const { url } = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script], { tokenCommandTtlSeconds: 1 }) } },
    });
    await ask(`${url}/proxy/api/x`);
    command.print("second-secret-of-the-command");
    await eventually(async () => {
      await ask(`${url}/proxy/api/x`);
      return vendor.requests.at(-1)?.headers.authorization?.includes("second");
    }, "the second secret");
    const { text } = await ask(`${url}/manage/quota`, { headers: manage });
    const { services } = JSON.parse(text) as { services: { service: string; credentials: unknown[] }[] };
    expect(services.find(({ service }) => service === "api")?.credentials).toMatchObject([
      { source: `command:${command.script}` },
    ]);
  });
});

describe("A failing command", () => {
  test.each([
    ["exits with a code", "exit 7", "the command that prints it exited with code 7."],
    ["prints nothing", "exit 0", "the command that prints it printed nothing."],
    [
      "prints several lines",
      "echo one; echo two; exit 0",
      "the command that prints it printed several lines; it must print only the secret.",
    ],
  ])("Where it %s, the request gets 502 with that reason, and nothing is sent", async (_, script, reason) => {
    const command = openCommand("", `echo secret-on-standard-error >&2; ${script}`);
    const vendor = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    for (let at = 0; at < 5; at++) {
      const { status, text } = await ask(`${gateway.url}/proxy/api/x`);
      expect(status).toBe(502);
      expect(JSON.parse(text)).toMatchObject({
        code: "UPSTREAM_CREDENTIAL_UNAVAILABLE",
        service: "api",
        message: `api needs a credential, but ${reason} Nothing was sent.`,
        hint: expect.stringContaining("credential:api"),
      });
      expect(text).not.toContain(command.folder);
    }
    expect([command.runs, vendor.requests.length]).toEqual([1, 0]);
    const failures = gateway.lines().filter(({ msg }) => msg === "the command of a credential failed");
    expect(failures).toMatchObject([{ level: 40, program: command.script }]);
    expect(gateway.logText()).not.toContain("secret-on-standard-error");
  });

  test("A program that does not exist is named to operators only", async () => {
    const vendor = await startUpstream();
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, auth: bearer(["byteproxy-no-such-program", "--token=argument"]) } },
    });
    const { status, text } = await ask(`${url}/proxy/api/x`);
    expect([status, text]).toEqual([502, expect.stringContaining("could not be started: there is no such program")]);
    expect(text).not.toMatch(/byteproxy-no-such-program|argument/);
  });

  test("With required: false, requests are sent without a credential", async () => {
    const command = openCommand("", "exit 1");
    const vendor = await startUpstream();
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script], { required: false }) } },
    });
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
    expect(vendor.requests[0]?.headers.authorization).toBeUndefined();
  });

  test("A key of the gateway is never sent as a credential", async () => {
    const command = openCommand(PROXY_KEY);
    const vendor = await startUpstream();
    const { url } = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY },
      services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } },
    });
    const { status, text } = await ask(`${url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } });
    expect(status).toBe(502);
    expect(text).toContain("printed something other than a secret that is not one of the gateway's own keys");
    expect(vendor.requests).toHaveLength(0);
  });

  test("A reload lets it run again at once", async () => {
    const command = openCommand("first-secret-of-the-command", "");
    command.fail();
    const vendor = await startVendor(new Set(["first-secret-of-the-command"]));
    const gateway = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer([command.script]) } } });
    expect((await ask(`${gateway.url}/proxy/api/x`)).status).toBe(502);
    command.print("first-secret-of-the-command");
    await gateway.reload();
    expect((await ask(`${gateway.url}/proxy/api/x`)).status).toBe(200);
  });
});

describe("The wait for a command", () => {
  /** Runs until the file exists. */
  const slow = () => {
    const folder = mkdtempSync(join(tmpdir(), "byteproxy-token-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const [pid, release] = [join(folder, "pid"), join(folder, "release")];
    const script = `echo $$ > ${pid}; sleep 60 & while [ ! -e ${release} ]; do sleep 0.02; done; echo slow-secret-of-the-command`;
    const isAlive = (id: number) => {
      try {
        process.kill(id, 0);
        return !/^State:\tZ/m.test(readFileSync(`/proc/${id}/status`, "utf8"));
      } catch {
        return false;
      }
    };
    return {
      argv: ["sh", "-c", script],
      release: () => writeFileSync(release, ""),
      pid: () => eventually(() => existsSync(pid) && Number(readFileSync(pid, "utf8")), "the start of the command"),
      isAlive,
    };
  };

  test("It ends with the time of the request, and the run continues for the next one", async () => {
    const command = slow();
    const vendor = await startVendor(new Set(["slow-secret-of-the-command"]));
    const { url } = await startGateway({
      services: { api: { baseUrl: vendor.url, timeoutMs: 200, auth: bearer(command.argv) } },
    });
    const { status, text } = await ask(`${url}/proxy/api/x`);
    expect([status, JSON.parse(text).code]).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
    const pid = await command.pid();
    expect(command.isAlive(pid)).toBe(true);
    command.release();
    await eventually(async () => (await ask(`${url}/proxy/api/x`)).status === 200, "the secret");
    expect(await command.pid()).toBe(pid);
  });

  test("A client that leaves ends its exchange at once, and the run continues", async () => {
    const command = slow();
    const vendor = await startVendor(new Set(["slow-secret-of-the-command"]));
    const gateway = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer(command.argv) } } });
    const leaving = httpRequest(`${gateway.url}/proxy/api/x`).on("error", () => {});
    leaving.end();
    const pid = await command.pid();
    leaving.destroy();
    const [exchange] = await eventually(
      () => gateway.exchanges().length > 0 && gateway.exchanges(),
      "the end of the exchange",
    );
    expect(exchange).toMatchObject({ outcome: "client-left", attempts: 0, status: 499 });
    expect(command.isAlive(pid)).toBe(true);
    command.release();
    expect((await ask(`${gateway.url}/proxy/api/x`)).status).toBe(200);
  });

  test("The end of the gateway kills a command that runs", async () => {
    const command = slow();
    const vendor = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: vendor.url, auth: bearer(command.argv) } } });
    const left = ask(`${gateway.url}/proxy/api/x`).catch(() => "cut");
    const pid = await command.pid();
    await gateway.close();
    await left;
    await eventually(() => !command.isAlive(pid), "the end of the command");
  });

  test("A reload keeps the run and the secret of an unchanged command, and kills that of a removed service", async () => {
    const command = slow();
    const vendor = await startVendor(new Set(["slow-secret-of-the-command"]));
    const api = { baseUrl: vendor.url, auth: bearer(command.argv) };
    const gateway = await startGateway({ services: { api } });
    const waiting = ask(`${gateway.url}/proxy/api/x`);
    const pid = await command.pid();
    const write = (services: object) =>
      writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
    write({ api: { ...api, timeoutMs: 20_000 } });
    expect(await gateway.reload()).toMatchObject({ isDone: true, changed: ["api"] });
    expect(command.isAlive(pid)).toBe(true);
    command.release();
    expect((await waiting).status).toBe(200);
    expect((await ask(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    expect(await command.pid()).toBe(pid);

    const other = slow();
    write({ other: { ...api, auth: bearer(other.argv) } });
    await gateway.reload();
    const cut = httpRequest(`${gateway.url}/proxy/other/x`).on("error", () => {});
    cut.end();
    const otherPid = await other.pid();
    cut.destroy();
    write({});
    await gateway.reload();
    await eventually(() => !other.isAlive(otherPid), "the end of the command of the removed service");
  });
});

describe("What operators see", () => {
  const open = async (auth: ServiceInput["auth"], env: Record<string, string> = {}) => {
    const vendor = await startVendor(new Set(["first-secret-of-the-command"]));
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...env },
      services: { api: { baseUrl: vendor.url, auth } },
    });
    const read = async (path: string, init: RequestInit = {}) =>
      JSON.parse((await ask(`${gateway.url}${path}`, { headers: manage, ...init })).text);
    return { ...gateway, vendor, read };
  };

  test("The state of the command is in the status, the item and the explanation, and an explanation does not run it", async () => {
    const command = openCommand();
    const { url, read } = await open(bearer([command.script, "--password=of-an-argument"]));
    const explain = () =>
      read("/manage/explain", {
        method: "POST",
        headers: { ...manage, "content-type": "application/json" },
        body: JSON.stringify({ method: "GET", path: "/proxy/api/x" }),
      });
    const source = `command:${command.script}`;
    const before = { state: "pending", source, command: { state: "not-run", lastRunAt: null, ttlSeconds: 300 } };
    expect(await explain()).toMatchObject({ verdict: "forward", credential: before });
    expect(await read("/manage/services/api")).toMatchObject({ credential: before });
    const status = await read("/status");
    expect(status.services.find(({ key }: { key: string }) => key === "api")).toMatchObject({ credential: before });
    expect(command.runs).toBe(0);
    await ask(`${url}/proxy/api/x`);
    const after = { state: "present", command: { state: "ready", lastRunAt: expect.any(String), failure: null } };
    for (const described of [await explain(), await read("/manage/services/api")]) {
      expect(described).toMatchObject({ credential: after });
      expect(JSON.stringify(described)).not.toContain("first-secret");
    }
    expect(command.runs).toBe(1);
  });

  test("The check of the credential and the test of the service run the command and name its failure", async () => {
    const command = openCommand("", "exit 4");
    const { read } = await open(bearer([command.script]));
    const tested = await read("/manage/services/api/test", { method: "POST" });
    expect(tested).toMatchObject({ status: "unreachable", error: expect.stringContaining("exited with code 4") });
    const { checks } = await read("/manage/diagnostics");
    const check = checks.find(({ id }: { id: string }) => id === "credential:api");
    expect(check).toMatchObject({ status: "fail", summary: expect.stringContaining("exited with code 4") });
    expect(tested.phase).toBeUndefined();
    expect(checks.find(({ id }: { id: string }) => id === "reach:api")).toMatchObject({
      status: "ok",
      summary: "not probed: api has no credential",
    });
    expect(command.runs).toBe(1);
  });

  test("A service over REST, and a change of one with a command, cannot run a program", async () => {
    const command = openCommand();
    const { url, read, vendor } = await open(bearer([command.script]));
    const change = (method: string, path: string, body: object) =>
      read(path, { method, headers: { ...manage, "content-type": "application/json" }, body: JSON.stringify(body) });
    const config = { baseUrl: vendor.url, auth: bearer(["touch", "/tmp/byteproxy-must-not-exist"]) };
    const custom = { type: "custom", secrets: { t: { command: ["id"] } }, headers: { "X-T": "{t}" } };
    for (const refused of [
      await change("POST", "/manage/services", { key: "evil", config }),
      await change("PUT", "/manage/services/api", config),
      await change("PATCH", "/manage/services/api", { auth: { tokenCommand: ["id"] } }),
      await change("PUT", "/manage/services/evil", { baseUrl: vendor.url, auth: custom }),
    ]) {
      expect(refused).toMatchObject({ status: 403, code: "EGRESS_NOT_ALLOWED" });
      expect(refused.message).toContain("cannot run a program");
    }
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
    expect([command.runs, existsSync("/tmp/byteproxy-must-not-exist")]).toEqual([1, false]);
  });

  test("A services file that other users may write is refused at a reload, and the old configuration stays", async () => {
    const command = openCommand();
    const { url, directory, reload } = await open(bearer([command.script]));
    chmodSync(join(directory, "services.json"), 0o666);
    const outcome = await reload();
    expect(outcome).toMatchObject({ isDone: false });
    expect(JSON.stringify(outcome)).toMatch(/services\.api\.auth\.tokenCommand: found a command, allowed: .*mode 0666/);
    expect((await ask(`${url}/proxy/api/x`)).status).toBe(200);
  });
});
