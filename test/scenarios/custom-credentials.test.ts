/** Credentials with several secrets and in every place of a request, as an upstream receives them. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const TOKEN = "110201543:AAHdqTcv_H1vGW/JIx sofSgs";
const OTHER = "second-secret-77";
/** RFC 3986 pchar stays, everything else is percent-encoded. */
const IN_PATH = "110201543:AAHdqTcv_H1vGW%2FJIx%20sofSgs";

const secrets = { token: { envVar: "TOKEN" }, other: { envVar: "OTHER" } };
const one = { token: { envVar: "TOKEN" } };

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly string[];
  readonly body: string;
}

async function start(auth: object, more: Record<string, unknown> = {}, env: Record<string, string> = {}) {
  const seen: Seen[] = [];
  const upstream = await startUpstream(async (req, res) => {
    const body = (await bodyOf(req)).toString("latin1");
    seen.push({ method: req.method as string, url: req.url as string, headers: req.rawHeaders, body });
    if (req.url?.includes("/fails") && seen.length % 2 === 1) res.statusCode = 503;
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN, OTHER, ...env },
    services: { api: { baseUrl: `${upstream.url}/base`, auth: auth as never, ...more } },
  });
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${gateway.url}/proxy/api${path}`, {
      redirect: "manual",
      ...init,
      headers: { "x-api-key": PROXY_KEY, ...init.headers },
    });
  return { upstream, gateway, seen, ask, last: () => seen.at(-1) as Seen };
}

const valuesOf = ({ headers }: Seen, name: string) =>
  headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name);

describe("Several headers and parameters", () => {
  test("Each gets its secret, the caller's own values are removed, and the rest stays byte for byte", async () => {
    const auth = {
      type: "custom",
      secrets,
      headers: { "X-App": "{other}", Authorization: 'Custom id="{other}", key="{token|base64}"' },
      query: { key: "{token}", format: "json" },
    };
    const { ask, last } = await start(auth);
    await ask(`/a?x=%20&key=mine&y=[1]&%6bey=mine&format=xml`, { headers: { "X-App": "mine", Authorization: "mine" } });
    expect(valuesOf(last(), "x-app")).toEqual([OTHER]);
    const base64 = Buffer.from(TOKEN).toString("base64");
    expect(valuesOf(last(), "authorization")).toEqual([`Custom id="${OTHER}", key="${base64}"`]);
    expect(last().url).toBe(`/base/a?x=%20&y=[1]&key=${encodeURIComponent(TOKEN)}&format=json`);
  });

  test.each([
    [{ type: "api-key", headerName: "X-Key", scheme: "Token", tokenEnvVar: "OTHER" }, "x-key", `Token ${OTHER}`],
    [{ type: "api-key", headerName: "X-Key", scheme: "token=", tokenEnvVar: "OTHER" }, "x-key", `token=${OTHER}`],
    [
      { type: "basic", username: "Zoë", tokenEnvVar: "OTHER" },
      "authorization",
      `Basic ${Buffer.from(`Zoë:${OTHER}`).toString("base64")}`,
    ],
    [
      { type: "basic", usernameEnvVar: "OTHER", tokenEnvVar: "PASSWORD" },
      "authorization",
      `Basic ${Buffer.from(`${OTHER}:a:b:c:ключ`).toString("base64")}`,
    ],
  ])("%j is sent in %s", async (auth, name, value) => {
    const { ask, last } = await start(auth, {}, { PASSWORD: "a:b:c:ключ" });
    await ask("/");
    expect(valuesOf(last(), name)).toEqual([value]);
  });

  test("Every missing secret is named, and nothing is sent", async () => {
    const { ask, seen } = await start({
      type: "custom",
      secrets: { a: { envVar: "NO_A" }, b: { envVar: "NO_B" }, ...one },
      headers: { A: "{a}-{token}", B: "{b}" },
    });
    const answer = await ask("/");
    const { code, message, hint } = (await answer.json()) as Record<string, string>;
    expect([answer.status, code]).toEqual([401, "UPSTREAM_CREDENTIAL_MISSING"]);
    expect(message).toContain("NO_A and NO_B are empty or not set");
    expect(hint).toContain("Set NO_A and NO_B");
    expect(message).not.toContain("TOKEN");
    expect(seen).toEqual([]);
  });

  test("A service with a missing secret that is not required sends none of its secrets", async () => {
    const auth = {
      type: "custom",
      required: false,
      secrets: { ...one, b: { envVar: "NO_B" } },
      headers: { A: "{token|base64}", B: "{b}" },
    };
    const { ask, last } = await start(auth);
    await ask("/");
    expect([valuesOf(last(), "a"), valuesOf(last(), "b")]).toEqual([[], []]);
  });
});

describe("A path", () => {
  const auth = { type: "custom", secrets: one, path: ["/bot{token}", "/file/bot{token}"] };

  test.each([
    ["/getMe", `/base/bot${IN_PATH}/getMe`],
    ["/getMe?a=%2F", `/base/bot${IN_PATH}/getMe?a=%2F`],
    ["", `/base/bot${IN_PATH}`],
    ["/", `/base/bot${IN_PATH}/`],
    ["?a=1", `/base/bot${IN_PATH}?a=1`],
    ["/botplaceholder/getMe", `/base/bot${IN_PATH}/getMe`],
    ["/botplaceholder", `/base/bot${IN_PATH}`],
    [`/bot${PROXY_KEY}/getMe`, `/base/bot${IN_PATH}/getMe`],
    [`/file/bot${PROXY_KEY}/photos/a%2Fb.png`, `/base/file/bot${IN_PATH}/photos/a%2Fb.png`],
    ["/file/botplaceholder/x", `/base/file/bot${IN_PATH}/x`],
    ["/bottleneck", `/base/bot${IN_PATH}/bottleneck`],
    ["/botplaceholders/x", `/base/bot${IN_PATH}/botplaceholders/x`],
    ["/file/bottle", `/base/bot${IN_PATH}/file/bottle`],
    ["/x/botplaceholder/y", `/base/bot${IN_PATH}/x/botplaceholder/y`],
  ])("A caller's %j reaches the upstream as %j", async (path, url) => {
    const { ask, last } = await start(auth);
    expect((await ask(path)).status).toBe(200);
    expect(last().url).toBe(url);
  });

  test("Permissions, hints, the log, errors and explain see the path without the inserted part", async () => {
    const { ask, gateway, last } = await start(auth, {
      pathHints: [{ match: "^/getYou$", message: "no such method", hint: "getMe" }],
    });
    const issued = await manage(gateway, "POST", "/keys", { name: "bot", permissions: ["api:GET:/getMe"] });
    const withKey = (path: string) =>
      fetch(`${gateway.url}/proxy/api${path}`, { headers: { "x-api-key": issued.body.key } });
    expect((await withKey(`/bot${issued.body.key}/getMe`)).status).toBe(200);
    expect(last().url).toBe(`/base/bot${IN_PATH}/getMe`);
    expect((await withKey(`/bot${issued.body.key}/getUpdates`)).status).toBe(403);
    expect((await withKey("/bottleneck/getMe")).status).toBe(403);
    const hinted = (await (await ask("/botplaceholder/getYou?a=1")).json()) as Record<string, string>;
    expect([hinted.message, hinted.path]).toEqual(["no such method", "/getYou"]);
    const paths = gateway.exchanges().map((line) => line.path);
    expect(paths).toContain("/proxy/api/getYou?a=***");
    expect(gateway.logText()).not.toContain("placeholder");
    const { body } = await manage(gateway, "POST", "/explain", {
      method: "GET",
      path: "/proxy/api/file/botplaceholder/x",
      caller: "proxy-key",
    });
    expect(body.request.path).toBe("/proxy/api/x");
    expect(body.upstream.url).toContain("/base/file/bot***/x");
    expect(body.credential.place).toBe("path /bot{token}, path /file/bot{token}");
    expect(JSON.stringify(body)).not.toContain("AAHdqTcv");
  });

  test("A versioned base comes before the inserted path", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { TOKEN },
      services: {
        api: { baseUrl: `${upstream.url}/v1`, versionedBaseUrls: { v2: `${upstream.url}/v2/` }, auth: auth as never },
      },
    });
    await fetch(`${gateway.url}/proxy/api/v2/botplaceholder/getMe`);
    expect(upstream.requests.at(-1)?.url).toBe(`/v2/bot${IN_PATH}/getMe`);
    expect(gateway.exchanges().at(-1)?.path).toBe("/proxy/api/v2/getMe");
  });

  test("Links and cookies come back without the secret and lead to the same resource", async () => {
    const upstream = await startUpstream((req, res) => {
      const url = req.url as string;
      // The same path in another spelling.
      const raw = url.replace("%2F", "%2f").replace("110201543:", "110201543%3A");
      if (url.endsWith("/go")) {
        res.writeHead(302, {
          Location: `${upstream.url}/base/file/bot${IN_PATH}/b?x=1`,
          "Content-Location": `/base/bot${IN_PATH}/c#d`,
          Link: `<${upstream.url}${raw.replace("/go", "/next")}>; rel=next, <${upstream.url}/elsewhere>; rel=help`,
          "Set-Cookie": `a=1; Path=/base/bot${IN_PATH}/d`,
          "X-Echo": url,
        });
      } else res.setHeader("X-Reached", "yes");
      res.end();
    });
    const gateway = await startGateway({
      env: { TOKEN },
      services: { api: { baseUrl: `${upstream.url}/base`, auth: auth as never, cookies: true } },
    });
    const answer = await fetch(`${gateway.url}/proxy/api/go`, { redirect: "manual" });
    const { headers } = answer;
    expect(headers.get("location")).toBe(`${gateway.url}/proxy/api/file/botplaceholder/b?x=1`);
    expect(headers.get("content-location")).toBe(`${gateway.url}/proxy/api/c#d`);
    expect(headers.get("link")).toContain(`<${gateway.url}/proxy/api/next>; rel=next`);
    expect(headers.get("link")).toContain(`<${upstream.url}/elsewhere>`);
    expect(headers.get("set-cookie")).toBe("a=1; Path=/proxy/api/d");
    expect(headers.get("x-echo")).toBe("/base/bot***/go");
    expect(JSON.stringify([...headers])).not.toMatch(/AAHdqTcv/);
    expect((await fetch(headers.get("location") as string)).headers.get("x-reached")).toBe("yes");
    expect(upstream.requests.at(-1)?.url).toBe(`/base/file/bot${IN_PATH}/b?x=1`);
  });

  test("A failing upstream's error and log line do not contain the path's secret, in any spelling", async () => {
    const gateway = await startGateway({
      env: { TOKEN, LOG_LEVEL: "debug" },
      services: { api: { baseUrl: "http://127.0.0.1:1", auth: auth as never, retries: 0 } },
    });
    const text = await (await fetch(`${gateway.url}/proxy/api/getMe`)).text();
    for (const each of [text, gateway.logText()]) expect(each).not.toContain("AAHdqTcv");
  });
});

describe("A form", () => {
  const auth = { type: "custom", secrets, form: { token: "{token}", "client id": "{other}" } };
  const FIELDS = "token=110201543%3AAAHdqTcv_H1vGW%2FJIx+sofSgs&client+id=second-secret-77";
  const type = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };

  test.each([
    ["a=1&b=%20x", `a=1&b=%20x&${FIELDS}`],
    ["token=mine&a=%zz&%74oken=mine&client+id=x&client%20id=y&b", `a=%zz&b&${FIELDS}`],
    ["token=mine", FIELDS],
    ["client+id=mine&a+b=1", `a+b=1&${FIELDS}`],
    ["a=caf\xe9&tokens=1", `a=caf\xe9&tokens=1&${FIELDS}`],
  ])("The caller's %j becomes %j", async (body, sent) => {
    const { ask, last } = await start(auth);
    expect((await ask("/", { method: "POST", headers: type, body: Buffer.from(body, "latin1") })).status).toBe(200);
    expect(last().body).toBe(sent);
    expect(valuesOf(last(), "content-length")).toEqual([String(sent.length)]);
    expect(valuesOf(last(), "content-type")).toEqual([type["content-type"]]);
  });

  test("A chunked form is sent with its length", async () => {
    const { gateway, last } = await start(auth);
    const head = `POST /proxy/api/x HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n`;
    const answer = await rawRequest(
      gateway.port,
      `${head}Content-Type: application/x-www-form-urlencoded\r\nContent-MD5: abc\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n`,
    );
    expect(answer.status).toBe(200);
    expect(last().body).toBe(`a=1&${FIELDS}`);
    expect(valuesOf(last(), "transfer-encoding")).toEqual([]);
    expect(valuesOf(last(), "content-length")).toEqual([String(`a=1&${FIELDS}`.length)]);
    expect(valuesOf(last(), "content-md5")).toEqual([]);
  });

  test("Without a body the fields are the body of a POST, and a GET has none", async () => {
    const { ask, last } = await start(auth);
    await ask("/", { method: "POST" });
    expect([last().body, valuesOf(last(), "content-type")]).toEqual([FIELDS, ["application/x-www-form-urlencoded"]]);
    await ask("/");
    expect([last().body, valuesOf(last(), "content-type")]).toEqual(["", []]);
  });

  test("Only the content type that was judged is sent", async () => {
    const { gateway, last } = await start(auth);
    const own = "application/x-www-form-urlencoded;charset=x";
    const head = `POST /proxy/api/x HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\nContent-Length: 3\r\n`;
    const types = `Content_Type: text/plain\r\nContent-Type: ${own}\r\nContent-Type: application/json\r\n`;
    expect((await rawRequest(gateway.port, `${head}${types}\r\na=1`)).status).toBe(200);
    expect([valuesOf(last(), "content-type"), valuesOf(last(), "content_type")]).toEqual([[own], []]);
  });

  test("Another content type is refused with 415, a body over 64 KiB with 413, and neither is sent", async () => {
    const { ask, gateway, seen } = await start(auth);
    const post = (headers: Record<string, string>, body: string) => ask("/", { method: "POST", headers, body });
    expect((await post({ "content-type": "application/json" }, "{}")).status).toBe(415);
    expect((await post({ ...type, "content-encoding": "gzip" }, "x")).status).toBe(415);
    expect((await post(type, "a".repeat(65_537))).status).toBe(413);
    const head = `POST /proxy/api/x HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nContent-Type: application/x-www-form-urlencoded\r\n`;
    const chunk = `10000\r\n${"a".repeat(65_536)}\r\n`;
    const answer = await rawRequest(
      gateway.port,
      [`${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`, "1\r\na\r\n0\r\n\r\n"],
      {
        until: "PAYLOAD_TOO_LARGE",
      },
    );
    expect(answer.status).toBe(413);
    expect(seen).toEqual([]);
    expect((await post(type, "a".repeat(65_536))).status).toBe(200);
  });

  test("A retry of an idempotent request sends the whole form again", async () => {
    const { ask, seen } = await start(auth);
    expect((await ask("/fails", { method: "PUT", headers: type, body: "a=1" })).status).toBe(200);
    expect(seen.map(({ body }) => body)).toEqual([`a=1&${FIELDS}`, `a=1&${FIELDS}`]);
  });

  test("A client that leaves inside its form causes no request to the upstream", async () => {
    const { gateway, seen } = await start(auth);
    const socket = await openSocket(gateway.port);
    socket.write(
      `POST /proxy/api/x HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na=1`,
    );
    await eventually(() => gateway.exchanges().length === 0 && socket.bytesWritten > 0);
    socket.end();
    socket.destroy();
    await eventually(() => gateway.exchanges().some(({ outcome }) => outcome === "client-left"));
    expect(seen).toEqual([]);
  });
});

describe("A WebSocket subprotocol", () => {
  const template = "openai-insecure-api-key.{token|base64}";
  const injected = `openai-insecure-api-key.${Buffer.from(TOKEN).toString("base64url")}`;

  /** @param choose the subprotocol that the upstream selects. */
  async function startWebSockets(choose: (offered: string[]) => string | false, subprotocol = template) {
    const offered: string[] = [];
    const server = new WebSocketServer({ noServer: true, handleProtocols: (protocols) => choose([...protocols]) });
    const origin = createServer();
    origin.on("upgrade", (req, socket, head) => {
      offered.push(String(req.headers["sec-websocket-protocol"]));
      server.handleUpgrade(req, socket, head, (client) => client.on("error", () => {}));
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      for (const client of server.clients) client.terminate();
      origin.close();
    });
    const { port } = origin.address() as AddressInfo;
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, TOKEN },
      services: {
        api: {
          baseUrl: `http://127.0.0.1:${port}`,
          ws: true,
          auth: { type: "custom", secrets: one, subprotocol } as never,
        },
      },
    });
    const open = async (protocols: string[]) => {
      const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/api/x`, protocols, {
        headers: { "x-api-key": PROXY_KEY },
      });
      onTestFinished(() => socket.terminate());
      await once(socket, "open");
      return socket.protocol;
    };
    return { open, offered };
  }

  test("The item is added to those of the caller, and the caller gets the one that it offered", async () => {
    const { open, offered } = await startWebSockets((all) => all[0] as string);
    expect(await open(["realtime", "v1"])).toBe("realtime");
    expect(offered).toEqual([`realtime, v1, ${injected}`]);
  });

  test("The caller's own item in that place is replaced, and comes back if the upstream selects the injected one", async () => {
    const { open, offered } = await startWebSockets((all) => all.find((each) => each === injected) ?? false);
    const own = `openai-insecure-api-key.${PROXY_KEY}`;
    expect(await open(["realtime", own, "v1"])).toBe(own);
    expect(offered).toEqual([`realtime, ${injected}, v1`]);
  });

  test("Without an offer of the caller the response names no subprotocol", async () => {
    const { open, offered } = await startWebSockets((all) => all[0] as string);
    expect(await open([])).toBe("");
    expect(offered).toEqual([injected]);
  });

  test("A template of a placeholder alone keeps the caller's other subprotocols", async () => {
    const { open, offered } = await startWebSockets((all) => all[0] as string, "{token|base64}");
    expect(await open(["realtime", "placeholder"])).toBe("realtime");
    expect(offered).toEqual([`realtime, ${Buffer.from(TOKEN).toString("base64url")}`]);
  });
});

test("A changed file replaces its secret alone, and one without a usable secret changes nothing", async () => {
  const folder = tempFolder({ token: "first-token-01\n", other: "first-other-01\n" });
  const auth = {
    type: "custom",
    secrets: { t: { file: join(folder, "token") }, o: { file: join(folder, "other") } },
    headers: { A: "{t}" },
    path: "/{o}",
  };
  const { gateway, ask, last } = await start(auth);
  const sent = async () => {
    await ask("/x");
    return [valuesOf(last(), "a"), last().url];
  };
  expect(await sent()).toEqual([["first-token-01"], "/base/first-other-01/x"]);
  writeFileSync(join(folder, "other"), "second/other\n");
  await gateway.refreshTokens();
  expect(await sent()).toEqual([["first-token-01"], "/base/second%2Fother/x"]);
  writeFileSync(join(folder, "token"), "\n");
  expect(await gateway.refreshTokens()).toMatchObject({
    problems: [expect.stringContaining("no usable secret for api")],
  });
  writeFileSync(join(folder, "token"), PROXY_KEY);
  expect(await gateway.refreshTokens()).toMatchObject({
    problems: [expect.stringContaining("not one of the gateway's own keys")],
  });
  expect(await sent()).toEqual([["first-token-01"], "/base/second%2Fother/x"]);
});

test("A list of services shows templates, and neither fixed values that may be secrets nor the arguments of programs", async () => {
  const literal = "a-literal-secret-0123456789";
  const query = { key: "{token}", app_key: literal, format: "json" };
  const { gateway, ask, last, upstream } = await start(
    { type: "custom", secrets: one, query, form: { app: literal } },
    {},
    { EGRESS_ALLOW_PRIVATE: "true" },
  );
  const { config } = (await manage(gateway, "GET", "/services/api")).body;
  expect(config.auth).toMatchObject({
    query: { key: "{token}", app_key: "***", format: "json" },
    form: { app: "***" },
  });
  // What is shown can be sent back: the values stay, but not at another origin.
  expect((await manage(gateway, "PUT", "/services/api", { ...config, timeoutMs: 5_000 })).status).toBe(200);
  await ask("/x");
  expect(last().url).toContain(`app_key=${literal}`);
  const moved = { ...config, baseUrl: upstream.url.replace("127.0.0.1", "localhost") };
  expect((await manage(gateway, "PUT", "/services/api", moved)).status).toBe(403);
  const added = await manage(gateway, "PUT", "/services/other", config);
  expect([added.status, Object.keys(added.body.details)]).toEqual([400, ["auth.query.app_key"]]);

  const commands = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: {
      a: { baseUrl: "http://127.0.0.1:9", auth: { type: "bearer", tokenCommand: ["echo", literal] } },
      b: {
        baseUrl: "http://127.0.0.1:9",
        auth: { type: "custom", secrets: { t: { command: ["echo", literal] } }, path: "/{t}" } as never,
      },
    },
  });
  const list = await manage(commands, "GET", "/services");
  expect(JSON.stringify(list.body)).toContain('["echo","***"]');
  expect(JSON.stringify(list.body)).not.toContain(literal);
});

test("Lists, diagnostics and the status describe each secret, and show none", async () => {
  const auth = {
    type: "custom",
    secrets: { ...secrets, gone: { envVar: "NOT_THERE" } },
    headers: { A: "{token|base64}", B: "{other}" },
    query: { gone: "{gone}" },
  };
  const { gateway } = await start(auth, {}, { OTHER: `"${OTHER}"` });
  const item = (await manage(gateway, "GET", "/services/api")).body;
  expect(item.credential).toMatchObject({ state: "missing", source: "TOKEN, OTHER, NOT_THERE", fingerprint: null });
  expect(item.credential.secrets).toEqual([
    { name: "token", source: "TOKEN", state: "present", fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/) },
    { name: "other", source: "OTHER", state: "present", fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/) },
    { name: "gone", source: "NOT_THERE", state: "missing", fingerprint: null },
  ]);
  const { body: diagnostics } = await manage(gateway, "GET", "/diagnostics");
  expect(diagnostics.authentication.api.secrets).toEqual(item.credential.secrets);
  const check = diagnostics.checks.find(({ id }: { id: string }) => id === "credential:api");
  expect(check).toMatchObject({ status: "fail", summary: expect.stringContaining("NOT_THERE is not set") });
  const status = await (await fetch(`${gateway.url}/status`, { headers: { "x-api-key": MANAGEMENT_KEY } })).text();
  const all = JSON.stringify([item, diagnostics]) + status + gateway.logText();
  for (const secret of [TOKEN, OTHER, IN_PATH]) expect(all).not.toContain(secret);
});
