/** Services are added, changed and removed over REST, and the next request meets the change. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const ENV = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" };
const textOf = async (url: string) => (await fetch(url)).text();
const named = (name: string) => startUpstream((_, res) => res.end(name));

function dataDir(): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-data-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe("/manage/services", () => {
  test("A service is added, read, replaced, patched and deleted, each with effect on the next request", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const gateway = await startGateway({ env: ENV });
    const created = await manage(gateway, "POST", "/services", { key: "api", config: { baseUrl: `${one.url}/` } });
    expect(created.status).toBe(201);
    expect(created.headers.get("location")).toBe("/manage/services/api");
    expect(created.headers.get("etag")).toMatch(/^"[0-9a-f]{32}"$/);
    expect(created.body).toEqual({
      key: "api",
      source: "runtime",
      config: { baseUrl: `${one.url}/` },
      credential: { state: "none", source: null, fingerprint: null },
    });
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("one");
    const read = await manage(gateway, "GET", "/services/api");
    expect([read.status, read.body]).toEqual([200, created.body]);
    expect(read.headers.get("etag")).toBe(created.headers.get("etag"));

    const replaced = await manage(gateway, "PUT", "/services/api", { baseUrl: two.url, headers: { "X-A": "1" } });
    expect(replaced.status).toBe(200);
    expect(replaced.headers.get("etag")).not.toBe(created.headers.get("etag"));
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("two");
    expect(two.requests.at(-1)?.headers["x-a"]).toBe("1");

    const patched = await manage(gateway, "PATCH", "/services/api", {
      methods: ["POST"],
      headers: { "X-A": null, "X-B": "2" },
    });
    expect(patched.body.config).toEqual({ baseUrl: two.url, headers: { "X-B": "2" }, methods: ["POST"] });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(405);

    const list = await manage(gateway, "GET", "/services");
    expect(list.body.count).toBe(list.body.services.length);
    expect(list.body.services).toContainEqual(patched.body);
    expect((await manage(gateway, "DELETE", "/services/api")).status).toBe(204);
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(404);
    expect((await manage(gateway, "GET", "/services/api")).status).toBe(404);
    expect((await manage(gateway, "DELETE", "/services/api")).body.code).toBe("SERVICE_NOT_CONFIGURED");
    expect((await manage(gateway, "PATCH", "/services/api", {})).body.code).toBe("SERVICE_NOT_CONFIGURED");
  });

  test("PUT of a new key creates a service; POST of an existing key is refused", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env: ENV, services: { filed: { baseUrl: upstream.url } } });
    const put = await manage(gateway, "PUT", "/services/api", { baseUrl: upstream.url });
    expect([put.status, put.headers.get("location")]).toEqual([201, "/manage/services/api"]);
    for (const key of ["api", "filed", "github", "echo"]) {
      const answer = await manage(gateway, "POST", "/services", { key, config: { baseUrl: upstream.url } });
      expect([answer.status, answer.body.code], key).toEqual([409, "DUPLICATE_ENTRY"]);
    }
  });

  test("A change to a service of the file is an override, which DELETE removes; the service of the file cannot be deleted", async () => {
    const [one, two] = [await named("one"), await named("two")];
    const gateway = await startGateway({ env: ENV, services: { filed: { baseUrl: one.url, retries: 0 } } });
    expect((await manage(gateway, "GET", "/services/filed")).body).toMatchObject({
      source: "file",
      config: { baseUrl: one.url, retries: 0 },
    });
    for (const key of ["filed", "echo", "github"]) {
      const refused = await manage(gateway, "DELETE", `/services/${key}`);
      expect([refused.status, refused.body.code]).toEqual([409, "READ_ONLY_SERVICE"]);
    }
    const patched = await manage(gateway, "PATCH", "/services/filed", { baseUrl: two.url });
    expect(patched.body).toMatchObject({ source: "override", config: { baseUrl: two.url, retries: 0 } });
    expect(await textOf(`${gateway.url}/proxy/filed/`)).toBe("two");
    // The override survives a reload, and the service that it hides follows the file.
    writeFileSync(
      join(gateway.directory, "services.json"),
      JSON.stringify({ services: { filed: { baseUrl: one.url, retries: 1 } } }),
    );
    expect(await gateway.reload()).toMatchObject({ isDone: true });
    expect(await textOf(`${gateway.url}/proxy/filed/`)).toBe("two");
    expect((await manage(gateway, "DELETE", "/services/filed")).status).toBe(204);
    expect(await textOf(`${gateway.url}/proxy/filed/`)).toBe("one");
    expect((await manage(gateway, "GET", "/services/filed")).body).toMatchObject({
      source: "file",
      config: { retries: 1 },
    });
  });

  test("The embedded service and a preset can be changed like a service of the file", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    const echo = await manage(gateway, "PATCH", "/services/echo", { setHeaders: { "X-Set": "yes" } });
    expect(echo.body).toMatchObject({ source: "override", config: { setHeaders: { "X-Set": "yes" } } });
    expect(await (await fetch(`${gateway.url}/proxy/echo/x`)).json()).toMatchObject({ headers: { "x-set": "yes" } });
    expect((await manage(gateway, "PATCH", "/services/github", { retries: 1 })).body).toMatchObject({
      source: "override",
      config: { auth: { tokenEnvVar: "GITHUB_TOKEN" }, retries: 1 },
      credential: { state: "missing", source: "GITHUB_TOKEN" },
    });
  });

  test("The body of a GET can be sent with PUT without changes, masked header values included", async () => {
    const upstream = await startUpstream();
    const hidden = { "X-Secret-Token": "hidden-value-1", "X-Team": "hidden-value-of-16", "X-Other": "Bearer hidden" };
    const setHeaders = { ...hidden, Accept: "text/plain", "X-Tenant": "acme" };
    const gateway = await startGateway({ env: ENV, services: { api: { baseUrl: upstream.url, setHeaders } } });
    const { body } = await manage(gateway, "GET", "/services/api");
    expect(body.config.setHeaders).toEqual({
      ...{ "X-Secret-Token": "***", "X-Team": "***", "X-Other": "***" },
      ...{ Accept: "text/plain", "X-Tenant": "acme" },
    });
    const put = await manage(gateway, "PUT", "/services/api", body.config);
    expect([put.status, put.body.config]).toEqual([200, body.config]);
    await fetch(`${gateway.url}/proxy/api/`);
    expect(upstream.requests.at(-1)?.headers["x-secret-token"]).toBe("hidden-value-1");
    expect(gateway.logText()).not.toContain("hidden-value-1");
  });
});

describe("An invalid change", () => {
  test("An invalid change is refused with the problems by field, and changes nothing", async () => {
    const upstream = await startUpstream();
    const hidden = { baseUrl: upstream.url, setHeaders: { "X-Token": "a value that is not shown" } };
    const gateway = await startGateway({ env: ENV, services: { api: { baseUrl: upstream.url }, hidden } });
    const cases: [method: string, path: string, body: unknown, details: unknown][] = [
      ["PUT", "/services/api", {}, { baseUrl: [expect.stringMatching(/^missing/)] }],
      [
        "PUT",
        "/services/api",
        { baseUrl: "ftp://x", retrys: 1, auth: { type: "nope" }, rateLimit: { maxRequests: 0, windowMs: 1 } },
        expect.objectContaining({
          baseUrl: [expect.stringContaining("http://")],
          retrys: [expect.stringContaining('did you mean "retries"')],
          "auth.type": [expect.stringContaining("bearer, bot, basic, api-key")],
          "rateLimit.maxRequests": [expect.any(String)],
        }),
      ],
      ["PATCH", "/services/api", { baseUrl: null }, { baseUrl: [expect.any(String)] }],
      ["PATCH", "/services/hidden", { baseUrl: null }, { baseUrl: [expect.stringMatching(/^missing/)] }],
      ["PATCH", "/services/hidden", { baseUrl: "nowhere" }, { baseUrl: [expect.any(String)] }],
      ["PATCH", "/services/hidden", { versionedBaseUrls: { v1: 5 } }, { "versionedBaseUrls.v1": [expect.any(String)] }],
      ["PATCH", "/services/api", { timeoutMs: -1 }, { timeoutMs: [expect.stringContaining("from 1")] }],
      ["PATCH", "/services/api", { headers: ["abc"] }, { headers: [expect.stringContaining("a list")] }],
      [
        "PATCH",
        "/services/api",
        { pathHints: [{ match: "(?=x)", message: "m" }] },
        { "pathHints[0].match": [expect.stringContaining("RE2")] },
      ],
      ["PATCH", "/services/api", [], { config: [expect.any(String)] }],
      ["PUT", "/services/api", "null", { config: [expect.any(String)] }],
      ["PUT", "/services/Bad%20Key", { baseUrl: upstream.url }, { key: [expect.any(String)] }],
      ["PUT", "/services/manage", { baseUrl: upstream.url }, { key: [expect.stringContaining("reserved")] }],
      ["PUT", "/services/__proto__", { baseUrl: upstream.url }, { key: [expect.any(String)] }],
      ["POST", "/services", { key: "new", config: {} }, { "config.baseUrl": [expect.any(String)] }],
      ["POST", "/services", { key: "new" }, { config: [expect.any(String)] }],
      ["POST", "/services", { config: {}, more: 1 }, { key: [expect.any(String)], more: [expect.any(String)] }],
      ["POST", "/services", [], { key: [expect.any(String)], config: [expect.any(String)] }],
      ["PUT", "/services/api", "{", { body: [expect.stringContaining("not JSON")] }],
      [
        "PUT",
        "/services/api",
        '{"baseUrl":"http://x","__proto__":{}}',
        { body: [expect.stringContaining("__proto__")] },
      ],
      ["PUT", "/services/api", "[".repeat(10_000), { body: [expect.stringContaining("deep")] }],
      [
        "PUT",
        "/services/api",
        { baseUrl: upstream.url, access: "signature" },
        { access: [expect.stringContaining("signature only with verify")] },
      ],
    ];
    for (const [method, path, body, details] of cases) {
      const answer = await manage(gateway, method, path, body);
      expect([answer.status, answer.body.code], `${method} ${path} ${JSON.stringify(body).slice(0, 80)}`).toEqual([
        400,
        "VALIDATION_ERROR",
      ]);
      expect(answer.body.details, JSON.stringify(body)).toEqual(details);
      expect(answer.headers.get("x-proxy-error")).toBe("VALIDATION_ERROR");
    }
    expect((await manage(gateway, "GET", "/services/api")).body).toMatchObject({
      source: "file",
      config: { baseUrl: upstream.url },
    });
    expect((await manage(gateway, "GET", "/audit")).body.entries).toEqual([]);
  });

  test("A refusal never shows a secret in the wrong place of the body, or control characters", async () => {
    const gateway = await startGateway({ env: ENV });
    const secret = "a-secret-that-is-in-the-wrong-place-0123456789";
    for (const config of [
      { baseUrl: "http://127.0.0.1:1", auth: { type: "bearer", tokenEnvVar: secret } },
      { baseUrl: "http://127.0.0.1:1", auth: { type: "bearer", token: secret } },
      { baseUrl: `http://user:${secret}@127.0.0.1:1` },
      { baseUrl: "http://127.0.0.1:1", setHeaders: { "X-A": `${secret}\r\nX-B: 1` } },
      { baseUrl: "http://127.0.0.1:1", setHeaders: { "X-A": `${secret}\u0000` } },
      { baseUrl: "http://127.0.0.1:1", headers: { [`X\r\n${secret}`]: "1" } },
      { baseUrl: "http://127.0.0.1:1", auth: { type: "api-key", headerName: `X\n${secret}`, tokenEnvVar: "A" } },
    ]) {
      const answer = await manage(gateway, "PUT", "/services/api", config);
      expect([answer.status, answer.body.code]).toEqual([400, "VALIDATION_ERROR"]);
      expect(JSON.stringify(answer.body)).not.toContain(secret);
    }
    expect(gateway.logText()).not.toContain(secret);
  });

  test("A body that is not JSON, too large or of another type is refused before it is read", async () => {
    const gateway = await startGateway({ env: ENV });
    const body = JSON.stringify({ key: "api", config: { baseUrl: "http://127.0.0.1:1" } });
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/jsonp",
    ]) {
      const answer = await manage(gateway, "POST", "/services", body, { "content-type": type });
      expect([answer.status, answer.body.code], type).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
    }
    expect((await manage(gateway, "POST", "/reload", "a=b", { "content-type": "text/plain" })).status).toBe(415);
    expect((await manage(gateway, "POST", "/services", body, { "content-encoding": "gzip" })).status).toBe(415);
    for (const type of ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]) {
      await manage(gateway, "DELETE", "/services/api");
      expect((await manage(gateway, "POST", "/services", body, { "content-type": type })).status, type).toBe(201);
    }
    const large = JSON.stringify({ name: "x".repeat(300_000) });
    expect((await manage(gateway, "PATCH", "/services/api", large)).body.code).toBe("PAYLOAD_TOO_LARGE");
    const head = `PATCH /manage/services/api HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${MANAGEMENT_KEY}\r\nContent-Type: application/json\r\n`;
    const chunk = `${(65_536).toString(16)}\r\n${"x".repeat(65_536)}\r\n`;
    const chunked = await rawRequest(gateway.port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(6)}`);
    expect(chunked.status).toBe(413);
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
  });
});

test("A client that waits for 100 Continue gets it only after its request was admitted", async () => {
  const gateway = await startGateway({ env: ENV });
  const body = JSON.stringify({ baseUrl: "http://127.0.0.1:1" });
  const ask = async (key: string) => {
    const headers = { "x-api-key": key, "content-type": "application/json", expect: "100-continue" };
    const req = request(`${gateway.url}/manage/services/api`, { method: "PUT", headers, agent: false });
    let wasAsked = false;
    req.on("continue", () => {
      wasAsked = true;
      req.end(body);
    });
    req.flushHeaders();
    const [res] = (await once(req, "response")) as [IncomingMessage];
    res.resume();
    req.destroy();
    return [res.statusCode, wasAsked];
  };
  expect(await ask("wrong-key-0123456789")).toEqual([401, false]);
  expect(await ask(MANAGEMENT_KEY)).toEqual([201, true]);
});

describe("If-Match and If-None-Match", () => {
  test("Preconditions stop two operators from overwriting the changes of each other", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env: ENV, services: { api: { baseUrl: upstream.url } } });
    const etag = (await manage(gateway, "GET", "/services/api")).headers.get("etag") as string;
    const patch = (retries: number, headers: Record<string, string>) =>
      manage(gateway, "PATCH", "/services/api", { retries }, headers);
    const both = await Promise.all([patch(1, { "if-match": etag }), patch(2, { "if-match": etag })]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
    const refused = both.find(({ status }) => status === 412);
    const won = both.find(({ status }) => status === 200);
    expect(refused?.body.code).toBe("PRECONDITION_FAILED");
    expect(refused?.headers.get("etag")).toBe(won?.headers.get("etag"));
    // Restoring the earlier state makes another version.
    await manage(gateway, "DELETE", "/services/api");
    const again = await patch(0, { "if-match": won?.headers.get("etag") ?? "" });
    expect(again.status).toBe(412);
    for (const [tag, status] of [
      ["*", 200],
      [`W/${etag}`, 412],
      ['"nope"', 412],
    ] as const) {
      expect((await patch(3, { "if-match": tag })).status, tag).toBe(status);
    }
    const current = (await manage(gateway, "GET", "/services/api")).headers.get("etag") as string;
    expect((await patch(4, { "if-match": `W/${current}` })).status).toBe(412);
    expect((await patch(4, { "if-match": `"nope", ${current}` })).status).toBe(200);
    // Changing it and changing it back makes another version, too.
    await patch(3, {});
    expect((await patch(4, { "if-match": current })).status).toBe(412);
    expect((await manage(gateway, "DELETE", "/services/api", undefined, { "if-match": current })).status).toBe(412);
    const put = (headers: Record<string, string>) =>
      manage(gateway, "PUT", "/services/new", { baseUrl: upstream.url }, headers);
    expect((await put({ "if-match": "*" })).status).toBe(412);
    expect((await put({ "if-none-match": "*" })).status).toBe(201);
    expect((await put({ "if-none-match": "*" })).status).toBe(412);
    const now = (await manage(gateway, "GET", "/services/new")).headers.get("etag") as string;
    for (const [tag, status] of [
      [now, 304],
      [`"nope", W/${now}`, 304],
      ["*", 304],
      ['"nope"', 200],
    ] as const) {
      const read = await fetch(`${gateway.url}/manage/services/new`, {
        headers: { "x-api-key": MANAGEMENT_KEY, "if-none-match": tag },
      });
      expect([read.status, read.headers.get("etag")], tag).toEqual([status, now]);
      expect((await read.text()) === "", tag).toBe(status === 304);
    }
    expect((await put({ "if-none-match": `W/${now}` })).status).toBe(412);
    expect((await put({ "if-none-match": '"another"' })).status).toBe(200);
  });
});

test("Changes at the same time without preconditions are made one after the other, and none is lost", async () => {
  const gateway = await startGateway({
    env: ENV,
    stores: await openFileStores(dataDir(), isStoredService, isStoredKey),
    services: { api: { baseUrl: "https://api.example" } },
  });
  const patches = [{ retries: 0 }, { timeoutMs: 1_234 }, { methods: ["GET"] }];
  const answers = await Promise.all(patches.map((patch) => manage(gateway, "PATCH", "/services/api", patch)));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  const { body } = await manage(gateway, "GET", "/services/api");
  expect(body.config).toMatchObject({ retries: 0, timeoutMs: 1_234, methods: ["GET"] });
});

describe("A change over REST", () => {
  test("A change survives a restart, is checked again, and its file is readable by the owner only", async () => {
    const upstream = await named("one");
    const folder = dataDir();
    const services = { filed: { baseUrl: "http://127.0.0.1:1" } };
    const open = async () =>
      startGateway({ env: ENV, services, stores: await openFileStores(folder, isStoredService, isStoredKey) });
    const before = await open();
    await manage(before, "POST", "/services", { key: "api", config: { baseUrl: upstream.url } });
    await manage(before, "PATCH", "/services/filed", { baseUrl: upstream.url });
    await manage(before, "PUT", "/services/gone", { baseUrl: upstream.url });
    await manage(before, "DELETE", "/services/gone");
    const { body: items } = await manage(before, "GET", "/services");
    const etag = (await manage(before, "GET", "/services/api")).headers.get("etag");
    const { body: audit } = await manage(before, "GET", "/audit");
    await before.close();
    const after = await open();
    expect((await manage(after, "GET", "/services")).body).toEqual(items);
    expect((await manage(after, "GET", "/services/api")).headers.get("etag")).toBe(etag);
    expect((await manage(after, "GET", "/audit")).body).toEqual(audit);
    for (const key of ["api", "filed"]) expect(await textOf(`${after.url}/proxy/${key}/`)).toBe("one");
    await after.close();

    writeFileSync(
      join(folder, "services.json"),
      '{"format":1,"revision":1,"entries":{"api":{"value":{"config":{"baseUrl":1}},"version":1}}}',
    );
    await expect(open()).rejects.toThrow(/services\.api\.baseUrl \(added over REST\): found 1, allowed/);
  });

  test("A change that cannot be stored is refused, and changes nothing", async () => {
    const upstream = await named("one");
    const folder = dataDir();
    const gateway = await startGateway({
      env: ENV,
      stores: await openFileStores(folder, isStoredService, isStoredKey),
    });
    await manage(gateway, "PUT", "/services/api", { baseUrl: upstream.url });
    rmSync(folder, { recursive: true });
    for (const [method, path, body] of [
      ["PUT", "/services/api", { baseUrl: "http://127.0.0.1:1" }],
      ["POST", "/services", { key: "new", config: { baseUrl: "http://127.0.0.1:1" } }],
      ["DELETE", "/services/api", undefined],
    ] as const) {
      const answer = await manage(gateway, method, path, body);
      expect([answer.status, answer.body.code]).toEqual([500, "INTERNAL_ERROR"]);
      expect(answer.body.message).toBe("The change could not be stored, and nothing was changed.");
    }
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("one");
    expect((await fetch(`${gateway.url}/proxy/new/`)).status).toBe(404);
    expect(gateway.lines()).toContainEqual(expect.objectContaining({ msg: "internal error" }));
  });

  test("A change does not cut requests in flight, and the connections of a removed service are closed", async () => {
    const held: ServerResponse[] = [];
    const [one, two] = [
      await startUpstream((_, res) => {
        res.write("before ");
        held.push(res);
      }),
      await named("two"),
    ];
    const gateway = await startGateway({ env: ENV });
    await manage(gateway, "PUT", "/services/api", { baseUrl: one.url });
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    await manage(gateway, "PUT", "/services/api", { baseUrl: two.url });
    expect(await textOf(`${gateway.url}/proxy/api/`)).toBe("two");
    await manage(gateway, "DELETE", "/services/api");
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(404);
    await eventually(() => two.sockets.size === 0, "the removed service's idle connections to close", 1_000);
    held[0]?.end("after");
    expect(await answer.text()).toBe("before after");
    await eventually(() => one.sockets.size === 0, "the last connection to close", 1_000);
    await eventually(
      async () => !(await textOf(`${gateway.url}/metrics`)).includes('service="api"'),
      "its series to go",
    );
  });

  test("The WebSockets of a removed service are closed with 1001, also if the client does not answer", async () => {
    const upstream = await startWebSocketEcho();
    const gateway = await startGateway({ env: ENV });
    await manage(gateway, "PUT", "/services/ws", { baseUrl: upstream.url, ws: true });
    await manage(gateway, "PUT", "/services/other", { baseUrl: upstream.url, ws: true });
    const connect = async (service: string) => {
      const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/${service}/`);
      onTestFinished(() => socket.terminate());
      await once(socket, "open");
      return socket;
    };
    const [gone, kept] = [await connect("ws"), await connect("other")];
    // This client reads nothing more, so it never answers the close frame.
    const deaf = await connect("ws");
    deaf.pause();
    // A change leaves WebSockets open.
    await manage(gateway, "PATCH", "/services/ws", { retries: 1 });
    expect(upstream.server.clients.size).toBe(3);
    const closed = once(gone, "close");
    await manage(gateway, "DELETE", "/services/ws");
    expect((await closed)[0]).toBe(1001);
    await eventually(() => upstream.server.clients.size === 1, "the upstream's side of both to close", 4_000);
    expect(kept.readyState).toBe(WebSocket.OPEN);
  });

  test("A WebSocket is closed if its service is removed during the handshake", async () => {
    let accept = () => {};
    const upstream = await startRawUpstream((socket) => {
      accept = () => {
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
      };
    });
    const gateway = await startGateway({ env: ENV });
    await manage(gateway, "PUT", "/services/ws", { baseUrl: upstream.url, ws: true });
    const answer = rawRequest(
      gateway.port,
      "GET /proxy/ws/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      { withinMs: 5_000 },
    );
    await eventually(() => upstream.received.length > 0 && upstream.received[0] !== "", "the handshake");
    await manage(gateway, "DELETE", "/services/ws");
    accept();
    expect((await answer).text).toMatch(/\x88\x02\x03\xe9$/);
    await eventually(() => upstream.sockets.size === 0, "the upstream's side to close", 4_000);
  });
});

describe("A body that is expensive to check", () => {
  test.each([
    ["a URL of question marks", JSON.stringify({ baseUrl: `http://${"?".repeat(250_000)}` })],
    ["an unclosed string of quotes", `"${'\\"'.repeat(120_000)}`],
    ["a list of wrong values", JSON.stringify({ baseUrl: "http://x", pathHints: new Array(100_000).fill(0) })],
    [
      "ten thousand unknown names",
      JSON.stringify(Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`name-${i}`, 1]))),
    ],
  ])("A body of %s is refused as fast as any other, with a short response", async (_, body) => {
    const gateway = await startGateway({ env: ENV });
    const start = performance.now();
    const answer = await fetch(`${gateway.url}/manage/services/api`, {
      method: "PUT",
      headers: { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" },
      body,
    });
    const text = await answer.text();
    expect(answer.status).toBe(400);
    expect(text.length).toBeLessThan(32_000);
    // A quadratic check took more than ten seconds.
    expect(performance.now() - start).toBeLessThan(2_000);
  });

  test("A path hint with exponential backtracking does not hold the event loop", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env: ENV });
    const config = { baseUrl: upstream.url, pathHints: [{ match: "^/(a+)+$", message: "only a" }] };
    expect((await manage(gateway, "PUT", "/services/api", config)).status).toBe(201);
    expect((await fetch(`${gateway.url}/proxy/api/${"a".repeat(5_000)}!`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/proxy/api/aaa`)).status).toBe(400);
  });

  test("A file without an end, or without a beginning, is not accepted as a certificate", async () => {
    const gateway = await startGateway({ env: ENV });
    const fifo = join(dataDir(), "fifo");
    execFileSync("mkfifo", [fifo]);
    for (const caFile of [fifo, "/dev/zero", "/dev/stdin", "/proc/self/fd/4"]) {
      const answer = await manage(gateway, "PUT", "/services/api", {
        baseUrl: "https://api.example.com/",
        tls: { caFile },
      });
      expect([answer.status, Object.keys(answer.body.details ?? {})], caFile).toEqual([400, ["tls.caFile"]]);
    }
  });
});

test("A stored service with a missing file is out of use until the file is back, and does not affect other services", async () => {
  const upstream = await named("one");
  const [folder, files] = [dataDir(), dataDir()];
  const open = async () =>
    startGateway({ env: ENV, stores: await openFileStores(folder, isStoredService, isStoredKey) });
  const before = await open();
  const caFile = join(files, "ca.pem");
  copyFileSync(join(import.meta.dirname, "../support/tls/ca.pem"), caFile);
  await manage(before, "PUT", "/services/api", { baseUrl: upstream.url });
  await manage(before, "PUT", "/services/tls", { baseUrl: "https://api.example.com/", tls: { caFile } });
  await before.close();
  rmSync(caFile);
  const after = await open();
  expect(await textOf(`${after.url}/proxy/api/`)).toBe("one");
  expect((await fetch(`${after.url}/proxy/tls/`)).status).toBe(404);
  const words = /^services\.tls\.tls\.caFile .*no readable certificate.*; tls is out of use until this is fixed$/;
  expect(await after.reload()).toMatchObject({ isDone: true, warnings: [expect.stringMatching(words)] });

  // An operator can read it, to fix or to delete it.
  const item = await manage(after, "GET", "/services/tls");
  expect(item.body).toMatchObject({ source: "runtime", outOfUse: [expect.stringMatching(/^tls\.caFile: /)] });
  expect((await manage(after, "GET", "/services")).body.services).toContainEqual(item.body);
  expect((await manage(after, "POST", "/services", { key: "tls", config: { baseUrl: upstream.url } })).status).toBe(
    409,
  );
  const put = (headers: Record<string, string>) => manage(after, "PUT", "/services/tls", item.body.config, headers);
  expect((await put({ "if-none-match": "*" })).status).toBe(412);
  expect((await put({})).body.details).toEqual({ "tls.caFile": [expect.any(String)] });
  copyFileSync(join(import.meta.dirname, "../support/tls/ca.pem"), caFile);
  expect(await after.reload()).toMatchObject({ isDone: true, added: ["tls"], warnings: [] });
  rmSync(caFile);
  await after.reload();
  const etag = (await manage(after, "GET", "/services/tls")).headers.get("etag") as string;
  const mended = await manage(after, "PATCH", "/services/tls", { tls: null }, { "if-match": etag });
  expect([mended.status, mended.body.outOfUse]).toEqual([200, undefined]);
  expect((await manage(after, "DELETE", "/services/tls", undefined, { "if-match": "*" })).status).toBe(204);
  expect(await after.reload()).toMatchObject({ warnings: [] });
});

test("An override of the embedded service is out of use while that service is off, and is sent to no other address", async () => {
  const folder = dataDir();
  const open = async (more: Record<string, string>) =>
    startGateway({ env: { ...ENV, ...more }, stores: await openFileStores(folder, isStoredService, isStoredKey) });
  const before = await open({});
  await manage(before, "PATCH", "/services/echo", { name: "Echo, renamed" });
  await before.close();
  const after = await open({ ECHO_SERVICE: "false" });
  expect((await fetch(`${after.url}/proxy/echo/`)).status).toBe(404);
  expect((await manage(after, "GET", "/services/echo")).body.outOfUse).toEqual([
    expect.stringContaining("which is off"),
  ]);
});

test("Requests in flight on a removed service have SHUTDOWN_TIMEOUT to end, are counted until then, and are then cut", async () => {
  const upstream = await startUpstream((req, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => res.write("data: x\n\n"), 10);
    req.socket.on("close", () => clearInterval(timer));
  });
  const gateway = await startGateway({ env: { ...ENV, SHUTDOWN_TIMEOUT: "300" } });
  await manage(gateway, "PUT", "/services/events", { baseUrl: upstream.url });
  const stream = await fetch(`${gateway.url}/proxy/events/`);
  const end = stream.text().then(
    () => "ended",
    () => "cut",
  );
  await manage(gateway, "DELETE", "/services/events");
  expect(await textOf(`${gateway.url}/metrics`)).toContain('byteproxy_requests_in_flight{service="events"} 1');
  expect(await end).toBe("cut");
  await eventually(() => upstream.sockets.size === 0, "the upstream's side to close", 1_000);
  await eventually(
    async () => !(await textOf(`${gateway.url}/metrics`)).includes('service="events"'),
    "its series to go",
  );
  // After a change they have unlimited time.
  await manage(gateway, "PUT", "/services/events", { baseUrl: upstream.url });
  const kept = await fetch(`${gateway.url}/proxy/events/`);
  const reader = (kept.body as ReadableStream<Uint8Array>).getReader();
  await manage(gateway, "PATCH", "/services/events", { retries: 0 });
  const until = performance.now() + 600;
  while (performance.now() < until) expect((await reader.read()).done).toBe(false);
  await reader.cancel();
});

test("A client that leaves in the middle of a change is not an error of the gateway", async () => {
  const gateway = await startGateway({ env: ENV });
  const head = `PUT /manage/services/z HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${MANAGEMENT_KEY}\r\nContent-Type: application/json\r\n`;
  const socket = await openSocket(gateway.port);
  socket.write(`${head}Content-Length: 60\r\n\r\n{`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.destroy();
  const broken = `${head}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nZZ\r\n{}\r\n0\r\n\r\n`;
  const answer = await rawRequest(gateway.port, broken, { withinMs: 3_000 });
  expect([answer.status, JSON.parse(answer.body).code]).toEqual([400, "INVALID_REQUEST"]);
  expect(answer.text.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
  expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
  expect(gateway.lines().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});

describe("Fifty services", () => {
  test("Fifty services are added, changed and removed over REST under load, and no request of another service fails", async () => {
    const [one, two] = [await startUpstream(), await startUpstream()];
    const gateway = await startGateway({ env: ENV, services: { kept: { baseUrl: one.url } } });
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    const failures: unknown[] = [];
    let served = 0;
    const work = async (service: string) => {
      while (!isOver) {
        const answer = await fetch(`${gateway.url}/proxy/${service}/`).catch((error: unknown) => ({
          status: error,
          text() {},
        }));
        await answer.text();
        served += 1;
        if (answer.status !== 200) failures.push(answer.status);
      }
    };
    await manage(gateway, "PUT", "/services/moved", { baseUrl: one.url });
    const workers = ["kept", "kept", "moved", "moved"].map(work);
    for (let i = 0; i < 50; i++) {
      const path = `/services/s${i}`;
      const moved = await manage(gateway, "PUT", "/services/moved", { baseUrl: i % 2 === 0 ? two.url : one.url });
      const added = await manage(gateway, "PUT", path, { baseUrl: one.url });
      const first = await fetch(`${gateway.url}/proxy/s${i}/`);
      const changed = await manage(gateway, "PATCH", path, { methods: ["POST"] });
      const second = await fetch(`${gateway.url}/proxy/s${i}/`);
      const removed = await manage(gateway, "DELETE", path);
      const third = await fetch(`${gateway.url}/proxy/s${i}/`);
      const statuses = [moved, added, first, changed, second, removed, third].map(({ status }) => status);
      expect(statuses).toEqual([200, 201, 200, 200, 405, 204, 404]);
    }
    isOver = true;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    expect(served).toBeGreaterThan(100);
    await eventually(() => one.sockets.size + two.sockets.size <= 8, "the old connections to close");
  }, 20_000);
});
