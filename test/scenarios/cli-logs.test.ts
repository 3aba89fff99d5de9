/** `byteproxy logs` as an operator runs it: a separate process that talks to a real gateway. */
import { describe, expect, test } from "vitest";
import { ask } from "../support/contract.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startProcess } from "../support/process.ts";
import { rawRequest } from "../support/raw-request.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const operator = { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" };

/** A gateway, and commands with its address and key in their settings. */
async function start(more: Record<string, string> = {}) {
  const upstream = await startUpstream((req, res) => {
    res.statusCode = Number(/status=(\d+)/.exec(req.url ?? "")?.[1] ?? 200);
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...more },
    services: { api: { baseUrl: upstream.url, retries: 0 }, other: { baseUrl: upstream.url } },
  });
  const send = (path: string, headers: Record<string, string> = { "x-api-key": PROXY_KEY }) =>
    ask(gateway.port, { method: "GET", path: `/proxy/${path}`, headers });
  const env = { PORT: String(gateway.port), MANAGEMENT_API_KEY: MANAGEMENT_KEY };
  return { gateway, send, env };
}

const pathsIn = (out: string) => [...out.matchAll(/ (\/[\w.-]+)(?:\?\S*)? /g)].map(([, path]) => path);

describe("logs", () => {
  test("The last requests are printed, the newest last, as aligned lines or as JSON", async () => {
    const { send, env, gateway } = await start();
    await send("api/first?token=a-secret-value");
    await send("other/second");
    await send("api/third?status=503");
    await send("unknown/fourth");
    const [all, json, api, failed, last] = await Promise.all([
      runCommand(env, ["logs"]),
      runCommand(env, ["logs", "--json"]),
      runCommand(env, ["logs", "--service", "api"]),
      runCommand(env, ["logs", "--status", "5xx", "--json"]),
      runCommand(env, ["logs", "--limit", "1"]),
    ]);
    expect([all.code, all.err]).toEqual([0, ""]);
    const lines = all.out.split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d {2}200 {2}GET {6}api {11}\/first\?token=\*{3} +[\d.]+ m?s$/);
    expect(lines[3]).toMatch(
      /^\d\d:\d\d:\d\d {2}404 {2}GET {6}- .*\/proxy\/unknown\/fourth .* SERVICE_NOT_CONFIGURED$/,
    );
    const logged = gateway.exchanges().map(({ level, msg, ...fields }) => fields);
    expect(
      json.out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual(logged);
    expect(pathsIn(api.out)).toEqual(["/first", "/third"]);
    expect(
      failed.out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).path),
    ).toEqual(["/proxy/api/third?status=***"]);
    expect(last.out).toBe(`${lines[3]}\n`);
  }, 20_000);

  test("Without a request there is a note, and nothing on stdout", async () => {
    const { env } = await start();
    const [text, json] = await Promise.all([runCommand(env, ["logs"]), runCommand(env, ["logs", "--json"])]);
    expect(text).toEqual({ code: 0, out: "", err: "The gateway has no such request since its start.\n" });
    expect(json).toEqual({ code: 0, out: "", err: "" });
  });

  test("--follow prints the last requests and those that follow, each once and in order, and ends with code 0 at SIGINT", async () => {
    const { send, env } = await start();
    await send("api/r0");
    await send("other/left-out");
    const run = startProcess(env, ["logs", "--follow", "--service", "api", "--limit", "1000"]);
    let sent = 1;
    const sendNext = () => send(`api/r${sent++}`);
    // Requests finish while the command connects and reads the list.
    const isShown = async () => (await sendNext()) && run.out().includes("/r0 ");
    await eventually(isShown, "the first line", 9_000);
    await Promise.all(Array.from({ length: 100 }, sendNext));
    await eventually(() => pathsIn(run.out()).length >= sent, "all lines");
    const all = Array.from({ length: sent }, (_, i) => `/r${i}`);
    expect(pathsIn(run.out()).toSorted()).toEqual(all.toSorted());
    expect(pathsIn(run.out()).slice(0, sent - 100)).toEqual(all.slice(0, sent - 100));
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(0);
    expect(run.err()).toBe("");
  }, 20_000);

  test("--follow --limit 0 --json prints new requests only, as JSON lines", async () => {
    const { send, env } = await start();
    await send("api/before");
    const run = startProcess(env, ["logs", "-f", "--limit", "0", "--json"]);
    while (run.out() === "") await send("api/after");
    await eventually(() => run.out().endsWith("\n"));
    for (const line of run.out().trimEnd().split("\n")) expect(JSON.parse(line).path).toBe("/proxy/api/after");
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
  }, 20_000);

  test("--follow connects again after the gateway has restarted, and misses no request of the new one", async () => {
    const port = String(await freePort());
    const first = await start({ PORT: port });
    await first.send("api/one");
    const run = startProcess(first.env, ["logs", "--follow"]);
    await eventually(() => run.out().includes("/one"), "the first line", 9_000);
    await first.gateway.drain(0, 1_000);
    await eventually(() => run.err().includes("was lost"), "the note", 5_000);
    const second = await start({ PORT: port });
    await second.send("api/two");
    await eventually(() => run.out().includes("/two"), "the line of the new gateway", 9_000);
    await second.send("api/three");
    await eventually(() => run.out().includes("/three"));
    expect(pathsIn(run.out())).toEqual(["/one", "/two", "/three"]);
    expect(run.err()).toMatch(/^The connection to \S+ was lost\. Trying again\.\nConnected to \S+ again\.\n$/);
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(0);
  }, 30_000);

  test("--follow ends with code 0 when the reader of its output has left", async () => {
    const { send, env } = await start();
    await send("api/one");
    const run = startProcess(env, ["logs", "--follow"]);
    await eventually(() => run.out().includes("/one"), "the first line", 9_000);
    run.child.stdout?.destroy();
    const sending = setInterval(() => void send("api/more"), 20);
    const exit = new Promise((resolve) => run.child.on("exit", resolve));
    expect(await exit).toBe(0);
    clearInterval(sending);
  }, 20_000);

  test("--follow ends with code 1 when its key is revoked", async () => {
    const { gateway, env, send } = await start();
    const body = JSON.stringify({ name: "x", permissions: ["manage:read"] });
    const issued = await ask(gateway.port, { method: "POST", path: "/manage/keys", headers: operator, body });
    const { key, id } = JSON.parse(issued.body) as { key: string; id: string };
    await send("api/one");
    const run = startProcess({ ...env, MANAGEMENT_API_KEY: key }, ["logs", "--follow"]);
    await eventually(() => run.out().includes("/one"), "the first line", 9_000);
    await ask(gateway.port, { method: "DELETE", path: `/manage/keys/${id}`, headers: operator });
    expect(await run.ended).toBe(1);
    expect(run.err()).toMatch(/revoked/);
    expect(run.err()).not.toContain(key);
  }, 20_000);

  test("A wrong filter is code 2, and a gateway that refuses or is missing is code 1, also with --follow and as JSON", async () => {
    const { env } = await start();
    const noGateway = { ...env, PORT: String(await freePort()) };
    const wrongKey = { ...env, MANAGEMENT_API_KEY: "wrong-key-0123456789abcdef" };
    for (const follow of [[], ["--follow"]]) {
      const [filter, json, key, missing, limit] = await Promise.all([
        runCommand(env, ["logs", ...follow, "--status", "6xx"]),
        runCommand(env, ["logs", ...follow, "--service", "A B", "--json"]),
        runCommand(wrongKey, ["logs", ...follow]),
        runCommand(noGateway, ["logs", ...follow]),
        runCommand(env, ["logs", ...follow, "--limit", "1001"]),
      ]);
      expect(filter).toEqual({
        code: 2,
        out: "",
        err: expect.stringMatching(
          /^status is not valid.*\n {2}status: allowed: a status like 503, or a class like 5xx\n$/,
        ),
      });
      expect([json.code, JSON.parse(json.out).code]).toEqual([2, "VALIDATION_ERROR"]);
      expect([key.code, key.out]).toEqual([1, ""]);
      expect(key.err).toContain("MANAGEMENT_API_KEY");
      expect([missing.code, missing.out]).toEqual([1, ""]);
      expect(missing.err).toMatch(/^No gateway responds at /);
      expect([limit.code, limit.out]).toEqual([2, ""]);
    }
  }, 40_000);

  test("--follow reads a stream in any pieces, says how many events were lost, and prints only requests", async () => {
    const line = (requestId: string) =>
      JSON.stringify({
        ...{ time: 1, service: "api", method: "GET", path: `/proxy/api/${requestId}`, status: 200, durationUs: 5 },
        ...{ outcome: "relayed", requestId },
      });
    const stream = [
      ": hello\n\n",
      `event: request\ndata: ${line("ü")}\n\n`,
      'event: breaker\ndata: {"service":"api","state":"open"}\n\n',
      "event: request\ndata: {not JSON\n\n",
      'event: lost\ndata: {"count":7}\r\n\r\n',
      `:\n\nevent: request\r\ndata: ${line("last")}\r\n\r\n`,
    ];
    const server = await startUpstream((req, res) => {
      if (req.url?.startsWith("/manage/requests")) return void res.end('{"requests":[],"count":0}');
      res.setHeader("content-type", "text/event-stream; charset=utf-8");
      // Byte by byte: an event, and a character of two bytes, arrive in pieces.
      const bytes = Buffer.from(stream.join(""));
      const sendNext = (i: number): void => {
        if (i < bytes.length) res.write(bytes.subarray(i, i + 1), () => sendNext(i + 1));
      };
      sendNext(0);
    });
    const run = startProcess({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, [
      "logs",
      "--follow",
      "--json",
      "--url",
      server.url,
    ]);
    await eventually(() => run.out().includes("last"), "the last line", 9_000);
    expect(
      run
        .out()
        .trimEnd()
        .split("\n")
        .map((each) => JSON.parse(each).requestId),
    ).toEqual(["ü", "last"]);
    expect(run.err()).toBe("7 events were lost here: they were not read fast enough.\n");
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(0);
  }, 20_000);

  test("Another server at the address is code 1, and its text is not printed", async () => {
    const server = await startUpstream((_, res) => void res.end("<h1>hello</h1>"));
    for (const words of [["logs"], ["logs", "--follow"]]) {
      const { code, out, err } = await runCommand({ MANAGEMENT_API_KEY: MANAGEMENT_KEY }, [
        ...words,
        "--url",
        server.url,
      ]);
      expect([code, out]).toEqual([1, ""]);
      expect(err).toMatch(/is this the gateway's address\?\n$/);
      expect(err).not.toContain("hello");
    }
  }, 20_000);

  test("Text of a client cannot move the cursor or add a line", async () => {
    const { gateway, env } = await start();
    const path = "/proxy/api/a\x9b31m\x85b%1b%5b31m%0aforged";
    await rawRequest(
      gateway.port,
      `GET ${path} HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`,
    );
    const { out } = await runCommand(env, ["logs"]);
    for (const line of out.split("\n")) expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
    expect(out.split("\n").filter((line) => line !== "")).toHaveLength(gateway.exchanges().length);
  });
});
