/** A running gateway applies a changed configuration from the next request on, and refuses an invalid one. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { openGateway } from "../../src/gateway.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const OPERATOR = { "x-api-key": MANAGEMENT_KEY };

function writeServices({ directory }: Pick<TestGateway, "directory">, services: unknown): void {
  writeFileSync(join(directory, "services.json"), JSON.stringify({ services }));
}

async function reload(gateway: TestGateway, headers: Record<string, string> = OPERATOR) {
  const answer = await fetch(`${gateway.url}/manage/reload`, { method: "POST", headers });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

const textOf = async (url: string, headers: Record<string, string> = {}) => (await fetch(url, { headers })).text();

describe("POST /manage/reload", () => {
  test("A reload adds, changes and removes services of the file from the next request on, and lists them", async () => {
    const [one, two] = [
      await startUpstream((_, res) => res.end("one")),
      await startUpstream((_, res) => res.end("two")),
    ];
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { kept: { baseUrl: one.url }, changed: { baseUrl: one.url }, removed: { baseUrl: one.url } },
    });
    expect(await textOf(`${gateway.url}/proxy/changed/`)).toBe("one");
    writeServices(gateway, { kept: { baseUrl: one.url }, changed: { baseUrl: two.url }, added: { baseUrl: two.url } });
    expect(await reload(gateway)).toEqual({
      status: 200,
      body: { added: ["added"], changed: ["changed"], removed: ["removed"], needsRestart: [], warnings: [] },
    });
    expect(await textOf(`${gateway.url}/proxy/kept/`)).toBe("one");
    expect(await textOf(`${gateway.url}/proxy/changed/`)).toBe("two");
    expect(await textOf(`${gateway.url}/proxy/added/`)).toBe("two");
    expect((await fetch(`${gateway.url}/proxy/removed/`)).status).toBe(404);
    const { services } = (await (await fetch(`${gateway.url}/proxy/services`)).json()) as {
      services: { key: string }[];
    };
    expect(services.map(({ key }) => key)).toEqual(expect.arrayContaining(["kept", "changed", "added"]));
    expect(services.map(({ key }) => key)).not.toContain("removed");
    expect(gateway.lines()).toContainEqual(
      expect.objectContaining({
        msg: "audit: reload",
        audit: expect.objectContaining({
          caller: "management-key",
          address: "127.0.0.1",
          after: expect.objectContaining({ added: ["added"] }),
        }),
      }),
    );
  });

  test("A reload of an invalid configuration is refused with 400 and every problem, and the old one stays in use", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url } },
    });
    for (const text of ['{"services": {"api": {"baseUrl": "ftp://x"}, "Bad": {}}}', "{", ""]) {
      writeFileSync(join(gateway.directory, "services.json"), text);
      const { status, body } = await reload(gateway);
      if (text === "") continue;
      expect([status, body.code]).toEqual([400, "VALIDATION_ERROR"]);
      expect((body.details as { configuration: string[] }).configuration.length).toBeGreaterThan(0);
      expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("ok");
    }
  });

  test("A reload needs the management key, and the method POST", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY } });
    expect((await reload(gateway, {})).status).toBe(401);
    expect((await reload(gateway, { "x-api-key": PROXY_KEY })).status).toBe(401);
    expect((await fetch(`${gateway.url}/manage/reload`, { headers: OPERATOR })).status).toBe(405);
  });

  test("A reload applies keys, origins and credentials of the env files, and lists the variables that need a restart", async () => {
    const upstream = await startUpstream((req, res) => res.end(req.headers.authorization));
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "API_TOKEN" } } },
    });
    const write = (lines: string[]) => writeFileSync(join(gateway.directory, ".env"), lines.join("\n"));
    const old = "the-old-key-0123456789";
    const fresh = "the-fresh-key-0123456789";
    write([`PROXY_API_KEY=${old}`, "API_TOKEN=the-old-token"]);
    expect((await reload(gateway)).body).toMatchObject({ changed: ["api"], needsRestart: [] });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(401);
    expect(await textOf(`${gateway.url}/proxy/api/`, { "x-api-key": old })).toBe("Bearer the-old-token");

    write([`PROXY_API_KEY=${fresh}`, "API_TOKEN=the-new-token", "CORS_ORIGINS=https://a.example", "MAX_IN_FLIGHT=7"]);
    expect((await reload(gateway)).body).toMatchObject({ changed: ["api"], needsRestart: ["MAX_IN_FLIGHT"] });
    expect((await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": old } })).status).toBe(401);
    const answer = await fetch(`${gateway.url}/proxy/api/`, {
      headers: { "x-api-key": fresh, origin: "https://a.example" },
    });
    expect(await answer.text()).toBe("Bearer the-new-token");
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://a.example");
    // No line contains a present or an earlier key, wherever a caller puts it.
    for (const key of [old, fresh]) await fetch(`${gateway.url}/proxy/api/${key}`, { headers: { "x-api-key": fresh } });
    for (const secret of [old, fresh, "the-old-token", "the-new-token"])
      expect(gateway.logText()).not.toContain(secret);
  });
});

describe("A reload", () => {
  test("A services file that is empty or absent is refused, because it may be being written; {} is accepted", async () => {
    const upstream = await startUpstream();
    const directory = tempFolder({
      "config/services.json": JSON.stringify({ services: { api: { baseUrl: upstream.url } } }),
    });
    const load = () => loadConfig({ directory, processEnv: { PORT: "0" } });
    const gateway = await openGateway(await load(), { load, logSink: { write() {}, flushSync() {} } });
    onTestFinished(() => gateway.close());
    const file = join(directory, "config/services.json");
    for (const [change, words] of [
      [() => writeFileSync(file, ""), /found an empty file/],
      [() => writeFileSync(file, " \n"), /found an empty file/],
      [() => rmSync(file), /found no file any more/],
    ] as const) {
      change();
      expect(await gateway.reload()).toEqual({ isDone: false, problems: [expect.stringMatching(words)] });
      expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
    }
    writeFileSync(file, "{}");
    expect(await gateway.reload()).toMatchObject({ isDone: true, removed: ["api"] });
  });

  test("A reload does not open a plane on an address that the new configuration no longer names", async () => {
    // A spelling of 127.0.0.1 that may also be a host name.
    const env: Record<string, string> = {
      HOST: "127.1",
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
    };
    const gateway = await startGateway({ env });
    for (const name of Object.keys(env)) delete env[name];
    expect(await gateway.reload()).toMatchObject({
      isDone: false,
      problems: [expect.stringContaining("/proxy/*"), expect.stringContaining("/manage/*")],
    });
    expect((await fetch(`${gateway.url}/manage/services`)).status).toBe(401);
    expect((await fetch(`${gateway.url}/proxy/services`)).status).toBe(401);
  });

  test("A reload keeps the connections, the limit and the requests in flight of an unchanged service", async () => {
    const upstream = await startUpstream();
    const kept = { baseUrl: upstream.url, rateLimit: { maxRequests: 3, windowMs: 60_000 } };
    const gateway = await startGateway({ services: { kept, other: { baseUrl: upstream.url } } });
    for (let i = 0; i < 3; i++) {
      expect((await fetch(`${gateway.url}/proxy/kept/`)).status).toBe(200);
      writeServices(gateway, { kept, other: { baseUrl: upstream.url, retries: i } });
      expect(await gateway.reload()).toMatchObject({ isDone: true, changed: ["other"] });
    }
    expect((await fetch(`${gateway.url}/proxy/kept/`)).status).toBe(429);
    expect(upstream.sockets.size).toBe(1);
    // The limit keeps its count if something else of the service changed.
    writeServices(gateway, { kept: { ...kept, retries: 1 }, other: { baseUrl: upstream.url } });
    await gateway.reload();
    expect((await fetch(`${gateway.url}/proxy/kept/`)).status).toBe(429);
  });

  test("Requests in flight on a removed service finish, then its connections are closed", async () => {
    const held: ServerResponse[] = [];
    const upstream = await startUpstream((_, res) => {
      res.write("before ");
      held.push(res);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    writeServices(gateway, {});
    expect(await gateway.reload()).toMatchObject({ removed: ["api"] });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(404);
    held[0]?.end("after");
    expect(await answer.text()).toBe("before after");
    await eventually(() => upstream.sockets.size === 0, "its sockets to close", 1_000);
  });

  test("A hundred reloads under load fail no request, not even of the service that changes", async () => {
    const [one, two] = [await startUpstream(), await startUpstream()];
    const at = (url: string) => ({
      kept: { baseUrl: one.url },
      moved: { baseUrl: url },
      [`s${url.length}`]: { baseUrl: url },
    });
    const gateway = await startGateway({ services: at(one.url) });
    let isOver = false;
    const failures: unknown[] = [];
    const work = async (service: string) => {
      while (!isOver) {
        const answer = await fetch(`${gateway.url}/proxy/${service}/`).catch((error: unknown) => ({
          status: error,
          text: () => {},
        }));
        await answer.text();
        if (answer.status !== 200) failures.push(answer.status);
      }
    };
    const workers = ["kept", "kept", "moved", "moved"].map(work);
    for (let i = 0; i < 100; i++) {
      writeServices(gateway, at(i % 2 === 0 ? two.url : one.url));
      expect(await gateway.reload()).toMatchObject({ isDone: true, changed: expect.arrayContaining(["moved"]) });
      await new Promise((resolve) => setImmediate(resolve));
    }
    isOver = true;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    await eventually(() => one.sockets.size + two.sockets.size <= 8, "the old connections to close");
  });

  test("Two reloads at the same time run one after the other", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    writeServices(gateway, { api: { baseUrl: upstream.url, retries: 0 } });
    const [first, second] = await Promise.all([gateway.reload(), gateway.reload()]);
    expect([first, second]).toMatchObject([{ changed: ["api"] }, { changed: [] }]);
  });
});

describe("POST /manage/services/:service/rate-limit/reset", () => {
  test("A reset clears the counts of a service for each caller, and leaves those of other services", async () => {
    const upstream = await startUpstream();
    const rateLimit = { maxRequests: 1, windowMs: 60_000, per: "caller" } as const;
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: {
        api: { baseUrl: upstream.url, rateLimit },
        other: { baseUrl: upstream.url, rateLimit },
        free: { baseUrl: upstream.url },
      },
    });
    const status = async (path: string) => (await fetch(`${gateway.url}/proxy/${path}`)).status;
    expect([await status("api/"), await status("api/"), await status("other/")]).toEqual([200, 429, 200]);
    const reset = async (service: string, headers: Record<string, string> = OPERATOR) =>
      (await fetch(`${gateway.url}/manage/services/${service}/rate-limit/reset`, { method: "POST", headers })).status;
    expect([await reset("api", {}), await reset("nope"), await reset("free"), await reset("api")]).toEqual([
      401, 404, 204, 204,
    ]);
    expect([await status("api/"), await status("api/"), await status("other/")]).toEqual([200, 429, 429]);
  });
});

describe("A token file", () => {
  test("A token file that is rotated by a swap of links, as in Kubernetes, is applied; an empty one is not", async () => {
    const upstream = await startUpstream((req, res) => res.end(req.headers.authorization));
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" } });
    const secrets = join(gateway.directory, "secrets");
    const put = (version: string, token: string) => {
      mkdirSync(join(secrets, version), { recursive: true });
      writeFileSync(join(secrets, version, "token"), token);
      symlinkSync(version, join(secrets, "..new"));
      renameSync(join(secrets, "..new"), join(secrets, "..data"));
    };
    put("v1", "token-one\n");
    symlinkSync("..data/token", join(secrets, "token"));
    const tokenFile = join(secrets, "token");
    writeServices(gateway, { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenFile } } });
    await reload(gateway);
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("Bearer token-one");
    put("v2", "token-two\n");
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: true, changed: ["api"] });
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("Bearer token-two");
    // The service of the file, which an override hides, has the new token too.
    expect((await manage(gateway, "PATCH", "/services/api", { retries: 0 })).status).toBe(200);
    expect((await manage(gateway, "DELETE", "/services/api")).status).toBe(204);
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("Bearer token-two");
    put("v3", "\n");
    expect(await gateway.refreshTokens()).toEqual({
      isDone: false,
      problems: [
        expect.stringMatching(/^file:.*token: found no usable secret for api, allowed: a file that holds a secret$/),
      ],
    });
    rmSync(join(secrets, "..data"));
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: false });
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("Bearer token-two");
    // Other changes of the services file are not applied with it.
    put("v4", "token-four");
    writeServices(gateway, {});
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: true, changed: ["api"], removed: [] });
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("Bearer token-four");
  });

  test("The refused keys that the check auth reports survive a reload", async () => {
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: "a-key-of-sixteen-characters" },
    });
    await fetch(`${gateway.url}/proxy/echo/`, { headers: { authorization: "Bearer " } });
    await fetch(`${gateway.url}/proxy/echo/`, { headers: { "x-api-key": MANAGEMENT_KEY } });
    await reload(gateway);
    const { body } = await manage(gateway, "GET", "/diagnostics");
    const { summary } = body.checks.find(({ id }: { id: string }) => id === "auth");
    expect(summary).toBe("1 request to /proxy had an empty key; 1 request to /proxy had the key of the other plane");
  });
});
