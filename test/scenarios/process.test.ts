/** The process as an operator sees it: its output, its signals and its exit codes. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { rewriteHooks, writeHooks } from "../support/hooks.ts";
import { startProcess } from "../support/process.ts";
import { openSocket } from "../support/raw-request.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

describe("second process", () => {
  test("A second gateway on the same DATA_DIR is refused with one line that names the first, and starts once that has ended", async () => {
    const first = startProcess();
    await first.port();
    const env = { DATA_DIR: join(first.directory, "data") };
    const second = startProcess(env);
    expect(await second.ended).toBe(1);
    expect(second.err()).toMatch(
      new RegExp(`^DATA_DIR .*/data is in use by another gateway \\(process ${first.child.pid}\\); .*\\n$`),
    );
    first.child.kill("SIGKILL");
    await first.ended;
    const third = startProcess(env);
    await third.port();
    third.child.kill("SIGTERM");
    expect(await third.ended).toBe(0);
    expect(existsSync(join(first.directory, "data", "lock"))).toBe(false);
  });

  test("A second gateway on the same port and DATA_DIR reports the port", async () => {
    const first = startProcess();
    const port = await first.port();
    const second = startProcess({ DATA_DIR: join(first.directory, "data"), PORT: String(port) });
    expect(await second.ended).toBe(1);
    expect(second.err()).toMatch(new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is in use`));
  });
});

describe("start", () => {
  test("A start logs, in fewer than 15 lines, the address, the services, their protection and three commands to try", async () => {
    const run = startProcess({ GITHUB_TOKEN: "a-token-for-github" });
    const port = await run.port();
    await eventually(() => run.out().match(/Try: curl/g)?.length === 3, "the last line");
    const lines = run
      .out()
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(lines.length).toBeLessThan(15);
    const text = lines.join("\n");
    expect(text).toContain(`http://127.0.0.1:${port}`);
    expect(text).toMatch(
      /echo \(needs no credential\).*discord \(off: set DISCORD_TOKEN\).*github \(credential ready\)/,
    );
    expect(text).toMatch(/\.env \(absent\), \.env\.local \(absent\), config\/services\.json \(absent\)/);
    expect(text).toMatch(/\/proxy\/\* is open to this machine \(set PROXY_API_KEY/);
    expect(text.match(/^Try: curl/gm)).toHaveLength(3);
    expect(text).not.toContain("a-token-for-github");
  });

  test("A wrong configuration exits with 2, each problem on a line of its own, and no stack trace", async () => {
    const services = '{\n  "services": {\n    "a": { "baseUrl": "ftp://x", "timoutMs": 1 }\n  }\n}';
    const run = startProcess({ PORT: "abc", LOG_LEVEL: "loud", WORKERS: "2", CONFIG_FILE: "s.json" }, [], {
      "s.json": services,
    });
    expect(await run.ended).toBe(2);
    const lines = run.err().trim().split("\n");
    expect(lines).toHaveLength(5);
    expect(run.err()).toMatch(/^PORT.*"abc".*integer/m);
    expect(run.err()).toMatch(/^LOG_LEVEL.*"loud"/m);
    expect(run.err()).toMatch(/^WORKERS.*not yet supported/m);
    expect(run.err()).toMatch(/^s\.json:3:\d+ services\.a\.baseUrl/m);
    expect(run.err()).toMatch(/^s\.json:3:\d+ services\.a\.timoutMs.*did you mean "timeoutMs"/m);
    expect(run.err()).not.toMatch(/^\s+at /m);
  });

  test("A start on a public address without keys is refused, and says what to set", async () => {
    const run = startProcess({ HOST: "0.0.0.0" });
    expect(await run.ended).toBe(2);
    expect(run.err()).toContain("PROXY_API_KEY");
    expect(run.err()).toContain("MANAGEMENT_API_KEY");
    expect(run.err()).toContain("ALLOW_UNAUTHENTICATED");
  });

  test("A port in use exits with 1 and one line with the fix", async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const run = startProcess({ PORT: String(port) });
    expect(await run.ended).toBe(1);
    expect(run.err().trim().split("\n")).toHaveLength(1);
    const holder = process.platform === "linux" ? `by [^,]+, process ${process.pid};` : "by";
    expect(run.err()).toMatch(new RegExp(`Port ${port} .* in use ${holder}.*PORT=`));
  });

  test("A DATA_DIR that cannot be created exits with 1 and one line", async () => {
    const run = startProcess({ DATA_DIR: "/proc/nowhere" });
    expect(await run.ended).toBe(1);
    expect(run.err()).toMatch(/^DATA_DIR \/proc\/nowhere cannot be written.*set DATA_DIR to another folder\.\n$/);
  });

  test("An unknown command exits with 2 and the usage", async () => {
    const run = startProcess({}, ["dance"]);
    expect(await run.ended).toBe(2);
    expect(run.err()).toContain("Usage: byteproxy");
    const help = await runCommand({}, ["--help"]);
    expect(help).toMatchObject({ code: 0, out: expect.stringContaining("Usage: byteproxy") });
    const version = startProcess({}, ["--version"]);
    expect(await version.ended).toBe(0);
    expect(version.out()).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("check", () => {
  const good = JSON.stringify({ services: { api: { baseUrl: "https://api.example.com/" } } });
  const bad = JSON.stringify({ services: { api: { baseUrl: "ftp://x", retrys: 1 } } });

  test("The check reports the problems of the configuration, or of a file, without starting", async () => {
    const run = startProcess({ PORT: "99999" }, ["check"]);
    expect(await run.ended).toBe(2);
    expect(run.err()).toMatch(/^PORT \(environment\): found "99999", allowed: .*\n$/);
    expect(existsSync(join(run.directory, "data"))).toBe(false);

    const file = await runCommand({}, ["check", "good.yaml"], { files: { "good.yaml": good } });
    expect(file.code).toBe(0);
    expect(file.out).toMatch(/^The configuration is valid: \d+ services\.\n$/);

    const json = await runCommand({}, ["check", "--json", "bad.json"], { files: { "bad.json": bad } });
    expect(json.code).toBe(2);
    expect(JSON.parse(json.out)).toMatchObject({
      ok: false,
      problems: [expect.stringMatching(/^bad\.json:1:\d+ services\.api\.baseUrl/), expect.stringContaining("retrys")],
    });
  });

  test("The check names a missing file, and refuses unknown arguments", async () => {
    const absent = await runCommand({}, ["check", "absent.json"]);
    expect(absent.code).toBe(2);
    expect(absent.err).toMatch(
      /^CONFIG_FILE \(command line\): found "absent\.json": cannot be read: there is no such file/,
    );
    for (const [words, problem] of [
      [["check", "a", "b"], "byteproxy check takes at most 1 argument, but got 2."],
      [["start", "foo"], "byteproxy start takes no arguments, but got 1."],
      [["check", "--nope"], "Unknown: check --nope"],
    ] as const) {
      const run = await runCommand({}, [...words]);
      expect([run.code, run.err]).toEqual([2, expect.stringMatching(new RegExp(`^${problem}`))]);
    }
  });
});

describe("shutdown", () => {
  async function startSlow(env: Record<string, string> = {}) {
    let finish: () => void = () => {};
    const upstream = await startUpstream((_, res) => {
      res.write("first ");
      finish = () => res.end("last");
    });
    const file = JSON.stringify({ services: { slow: { baseUrl: upstream.url } } });
    const run = startProcess({ CONFIG_FILE: "s.json", ...env }, [], { "s.json": file });
    const port = await run.port();
    const client = await openSocket(port);
    client.write("GET /proxy/slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => client.received.includes("first "));
    return { run, port, client, finish: () => finish() };
  }

  test.each(["SIGTERM", "SIGINT"] as const)("%s finishes the requests in flight and exits with 0", async (signal) => {
    const { run, client, finish } = await startSlow();
    run.child.kill(signal);
    await eventually(() => run.out().includes(`${signal}: `));
    finish();
    await eventually(() => client.received.endsWith("0\r\n\r\n"));
    expect(client.received).toContain("last");
    expect(await run.ended).toBe(0);
    expect(run.out()).toContain('"outcome":"relayed"');
  });

  test("For SHUTDOWN_DELAY the gateway still serves, is not ready, and sends Connection: close", async () => {
    const run = startProcess({ SHUTDOWN_DELAY: "600" });
    const port = await run.port();
    run.child.kill("SIGTERM");
    await eventually(() => run.out().includes("SIGTERM: "));
    const ready = await fetch(`http://127.0.0.1:${port}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([503, { status: "unready", reasons: ["draining"] }]);
    const proxied = await fetch(`http://127.0.0.1:${port}/proxy/echo/`);
    expect([proxied.status, proxied.headers.get("connection")]).toEqual([200, "close"]);
    expect(await run.ended).toBe(0);
  });

  test("Two signals within a second count as one and do not cut requests", async () => {
    const { run, client, finish } = await startSlow();
    run.child.kill("SIGINT");
    run.child.kill("SIGTERM");
    await eventually(() => run.out().includes("finishing requests in flight"));
    finish();
    await eventually(() => client.received.includes("last"));
    expect(await run.ended).toBe(0);
  });

  test("Requests that do not end within SHUTDOWN_TIMEOUT are cut, and the exit code is 1", async () => {
    const { run, client } = await startSlow({ SHUTDOWN_TIMEOUT: "150" });
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(1);
    await eventually(() => client.destroyed);
  });

  test("A second signal more than a second after the first ends the process at once", async () => {
    const { run } = await startSlow({ SHUTDOWN_TIMEOUT: "60000" });
    run.child.kill("SIGTERM");
    await eventually(() => run.out().includes("SIGTERM: "));
    await new Promise((done) => setTimeout(done, 1_100));
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(1);
  });

  test("Idle connections are closed at once at shutdown", async () => {
    const run = startProcess();
    const client = await openSocket(await run.port());
    client.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => client.received.includes('"ok"'));
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
  });
});

test("The gateway keeps running when the reader of its log goes away", async () => {
  const run = startProcess();
  const port = await run.port();
  run.child.stdout?.destroy();
  for (let i = 0; i < 5; i++) {
    expect((await fetch(`http://127.0.0.1:${port}/proxy/echo/`)).status).toBe(200);
    await new Promise((done) => setTimeout(done, 60));
  }
  expect(run.child.exitCode).toBeNull();
});

test("A log that is a file has every line in order, including the last ones", async () => {
  const run = startProcess({}, [], { "log.txt": "" }, ["sh", "-c", 'exec "$0" "$@" > log.txt', process.execPath]);
  const log = () => readFileSync(join(run.directory, "log.txt"), "utf8");
  const url = await eventually(() => /listens on (http:\/\/[^ "]+)/.exec(log())?.[1], "the log's first lines", 9_000);
  const ids = Array.from({ length: 200 }, (_, i) => `line-${i}`);
  for (const id of ids) await (await fetch(`${url}/proxy/echo/`, { headers: { "X-Request-Id": id } })).text();
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  const lines = log().trimEnd().split("\n");
  expect(lines.flatMap((line) => JSON.parse(line).requestId ?? [])).toEqual(ids);
  expect(lines.at(-1)).not.toContain("requestId");
});

describe("changes at run time", () => {
  const upstreams = async () =>
    [await startUpstream((_, res) => res.end("one")), await startUpstream((_, res) => res.end("two"))] as const;
  const servicesAt = (url: string) => JSON.stringify({ services: { api: { baseUrl: url } } });
  const textOf = async (port: number) => (await fetch(`http://127.0.0.1:${port}/proxy/api/`)).text();

  test("SIGHUP applies the changed configuration, and an invalid one leaves the old one in use", async () => {
    const [one, two] = await upstreams();
    const run = startProcess({ CONFIG_FILE: "s.json" }, [], { "s.json": servicesAt(one.url) });
    const port = await run.port();
    expect(await textOf(port)).toBe("one");
    writeFileSync(join(run.directory, "s.json"), "{");
    run.child.kill("SIGHUP");
    await eventually(() => run.out().includes("SIGHUP, but the change was not applied: s.json"));
    expect(await textOf(port)).toBe("one");
    writeFileSync(join(run.directory, "s.json"), servicesAt(two.url));
    run.child.kill("SIGHUP");
    await eventually(() => run.out().includes("SIGHUP: reloaded"));
    expect(await textOf(port)).toBe("two");
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
  });

  test("With WATCH_CONFIG a changed services file and changed hooks are applied without a signal", async () => {
    const [one, two] = await upstreams();
    const hooks = (text: string) =>
      `export default { name: "a", onResponse: (response) => response.headers.set("x-hook", "${text}") }`;
    const path = writeHooks(hooks("one"));
    const env = { CONFIG_FILE: "s.json", WATCH_CONFIG: "true", MIDDLEWARE_PATH: path };
    const run = startProcess(env, [], { "s.json": servicesAt(one.url) });
    const port = await run.port();
    const hookOf = async () => (await fetch(`http://127.0.0.1:${port}/proxy/api/`)).headers.get("x-hook");
    expect([await textOf(port), await hookOf()]).toEqual(["one", "one"]);
    rewriteHooks(path, hooks("two"));
    await eventually(async () => (await hookOf()) === "two", "the changed hooks to be applied", 6_000);
    writeFileSync(join(run.directory, "s.json"), servicesAt(two.url));
    await eventually(async () => (await textOf(port)) === "two", "the change to be applied", 6_000);
  });

  test("A changed token file is applied without a signal, and no other change with it", async () => {
    const upstream = await startUpstream((req, res) => res.end(req.headers.authorization));
    const auth = { type: "bearer", tokenFile: "token" };
    const services = JSON.stringify({ services: { api: { baseUrl: upstream.url, auth } } });
    const run = startProcess({ CONFIG_FILE: "s.json" }, [], { "s.json": services, token: "first-token" });
    const port = await run.port();
    expect(await textOf(port)).toBe("Bearer first-token");
    writeFileSync(join(run.directory, "s.json"), JSON.stringify({ services: {} }));
    writeFileSync(join(run.directory, "token"), "second-token");
    await eventually(async () => (await textOf(port)) === "Bearer second-token", "the token to be applied", 6_000);
  });
});

test("An unexpected error ends the process with exit code 1, and no output contains what a library attached to the error", async () => {
  const thrower = `process.on("SIGUSR2", () => {
    throw Object.assign(new Error("unexpected"), { rawPacket: Buffer.from("OF-A-USER"), data: "OF-A-USER" });
  });`;
  const run = startProcess({
    NODE_OPTIONS: `--import=data:text/javascript;base64,${Buffer.from(thrower).toString("base64")}`,
  });
  await run.port();
  run.child.kill("SIGUSR2");
  expect(await run.ended).toBe(1);
  expect(run.err()).toBe("An unexpected error ended the gateway; its log has the cause.\n");
  // The lines of the start may still be on their way when the error is written at once.
  const lines = run.out().trim().split("\n");
  const logged = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 50);
  expect(logged).toHaveLength(1);
  expect(logged[0]).toMatchObject({ level: 50, err: { type: "Error", message: "unexpected" } });
  expect(run.out() + run.err()).not.toMatch(/OF-A-USER|rawPacket/);
});
