/** User hooks see and change proxied requests and responses, and a hook that fails ends its own exchange only. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY } from "../support/gateway.ts";
import { rewriteHooks, startHookedGateway } from "../support/hooks.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const TOKEN = "the-token-of-the-upstream";
const BEARER = { type: "bearer", tokenEnvVar: "API_TOKEN" } as const;

describe("onRequest", () => {
  test("A hook sees the stripped request without key and credential, and changes path, query and headers", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `export default [{ name: "change", onRequest(request, caller) {
        const { requestId, service, method, clientAddress, isWebSocket, path, query, headers } = request;
        const seen = { requestId, service, method, clientAddress, isWebSocket, path, query, caller, headers: [...headers] };
        request.headers.set("X-Seen", encodeURIComponent(JSON.stringify(seen)));
        request.headers.append("x-list", "a");
        request.headers.append("X-List", "b");
        request.headers.delete("x-gone");
        request.headers.set("x-own", headers.get("X-OWN") + "-" + headers.has("x-none") + "-" + headers.getAll("x-none").length);
        request.path = "/v2" + request.path;
        request.query += "&page=2";
      } }]`,
      {
        env: { API_TOKEN: TOKEN },
        services: {
          api: { baseUrl: `${upstream.url}/base/`, auth: BEARER, setHeaders: { "X-Fixed": "fixed-secret" } },
        },
      },
    );
    const response = await gateway.ask("/users?x=%2F&api_key=gone", {
      headers: { "x-gone": "1", "x-own": "mine", "x-session": "hidden", authorization: "Bearer other" },
    });
    expect(response.status).toBe(200);
    const { url, headers = {} } = upstream.requests[0] ?? {};
    expect(url).toBe("/base/v2/users?x=%2F&page=2");
    expect(headers).toMatchObject({ "x-list": "a, b", "x-own": "mine-false-0", "x-session": "hidden" });
    expect(headers).toMatchObject({ authorization: `Bearer ${TOKEN}`, "x-fixed": "fixed-secret" });
    expect(headers).not.toHaveProperty("x-gone");
    const text = decodeURIComponent(headers["x-seen"] as string);
    const seen = JSON.parse(text);
    expect(seen).toMatchObject({
      requestId: response.headers.get("x-proxy-request-id"),
      service: "api",
      method: "GET",
      clientAddress: "127.0.0.1",
      isWebSocket: false,
      path: "/users",
      query: "x=%2F",
      caller: { id: "proxy-key" },
    });
    expect(seen.headers).toContainEqual(["x-session", "***"]);
    expect(seen.headers).toContainEqual(["X-Fixed", "***"]);
    for (const secret of [TOKEN, PROXY_KEY, MANAGEMENT_KEY, "fixed-secret", "hidden"])
      expect(text).not.toContain(secret);
  });

  test("Hooks run in their order, the first refusal ends the list, and the upstream gets nothing", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `const mark = (name) => ({ name,
        async onRequest(request) { request.headers.append("x-order", name); if (request.path === "/" + name) request.refuse(451, { message: "No " + request.headers.get("x-order") + ".", hint: "Ask." }); },
        onResponse(response) { response.headers.append("x-order", name); } });
      export default [mark("a"), mark("b"), mark("c")]`,
      { services: { api: { baseUrl: upstream.url } } },
    );
    const passed = await gateway.ask("/x");
    expect([passed.headers.get("x-order"), upstream.requests[0]?.headers["x-order"]]).toEqual(["a, b, c", "a, b, c"]);
    const refused = await gateway.ask("/b", { method: "POST", body: "x".repeat(1000) });
    expect(refused.status).toBe(451);
    expect(await refused.json()).toMatchObject({
      status: 451,
      code: "REFUSED_BY_HOOK",
      message: "No a, b.",
      hint: "Ask.",
    });
    expect(upstream.requests).toHaveLength(1);
    expect(gateway.exchanges().at(-1)).toMatchObject({ status: 451, outcome: "refused:REFUSED_BY_HOOK", attempts: 0 });
    const operator = { headers: { "x-api-key": MANAGEMENT_KEY } };
    const status = (await (await fetch(`${gateway.url}/status`, operator)).json()) as { hooks: unknown };
    expect(status.hooks).toMatchObject([
      { name: "a", phases: ["onRequest", "onResponse"], refusals: 0 },
      { name: "b", refusals: 1, failures: 0, slow: 0 },
      { name: "c", refusals: 0 },
    ]);
    const metrics = await (await fetch(`${gateway.url}/metrics`, operator)).text();
    expect(metrics).toContain('byteproxy_refusals_total{service="api",code="REFUSED_BY_HOOK"} 1');
  });

  test("A hook runs once for a request that is sent again, and never for preflights, other routes and explanations", async () => {
    let failures = 1;
    const upstream = await startUpstream((_, res) => res.writeHead(failures-- > 0 ? 503 : 200).end());
    const gateway = await startHookedGateway(
      `let calls = 0;
      export default { name: "count", onRequest: (request) => request.headers.set("x-calls", String(++calls)),
        onResponse: (response) => response.headers.set("x-status", String(response.status)) }`,
      { services: { api: { baseUrl: upstream.url } }, env: { CORS_ORIGINS: "https://app.example" } },
    );
    expect((await gateway.ask("/x")).headers.get("x-status")).toBe("200");
    expect(upstream.requests.map(({ headers }) => headers["x-calls"])).toEqual(["1", "1"]);
    const headers = { origin: "https://app.example", "access-control-request-method": "PUT" };
    expect((await fetch(`${gateway.url}/proxy/api/x`, { method: "OPTIONS", headers })).status).toBe(204);
    expect((await fetch(`${gateway.url}/health`)).headers.has("x-status")).toBe(false);
    const explained = await manage(gateway, "POST", "/explain", {
      method: "GET",
      path: "/proxy/api/x",
      caller: "proxy-key",
    });
    expect(explained.body).toMatchObject({ verdict: "forward", hooks: ["count"] });
    await gateway.ask("/y");
    expect(upstream.requests.at(-1)?.headers["x-calls"]).toBe("2");
  });

  test("A changed request is judged by the permissions and models of the caller's key again", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `export default { name: "rewrite", onRequest(request) {
        if (request.path === "/v1/a") request.path = "/admin";
        if (request.path === "/v1/b") request.path = "/v1/c";
        if (request.path === "/v1/m") request.path = "/deployments/b";
        if (request.path === "/v1/d") request.headers.set("X-HTTP-Method-Override", "DELETE");
        if (request.path === "/v1/e") request.query = "_method=DELETE";
        if (request.path === "/v1/f") request.headers.set("x-plain", "1");
        if (request.path === "/v2/a") request.path = "/v3/a";
        if (request.path === "/v2/b") { request.path = "/v3/b"; request.headers.delete("X-HTTP-Method-Override"); }
      } }`,
      { services: { api: { baseUrl: upstream.url, setHeaders: { "X-Path-Prefix": "/admin" } } } },
    );
    const { body } = await manage(gateway, "POST", "/keys", { name: "v1", permissions: ["api:GET:/v1/**"] });
    const statusOf = async (path: string, key = body.key) =>
      (await gateway.ask(path, { headers: { "x-api-key": key } })).status;
    expect(await Promise.all(["/v1/a", "/v1/b", "/v1/d", "/v1/e", "/v1/f"].map((path) => statusOf(path)))).toEqual([
      403, 200, 403, 403, 200,
    ]);
    expect(upstream.requests.map(({ url }) => url).sort()).toEqual(["/v1/c", "/v1/f"]);
    expect(await statusOf("/v1/a", PROXY_KEY)).toBe(200);

    const { body: limited } = await manage(gateway, "POST", "/keys", {
      name: "m",
      permissions: ["api:*"],
      models: ["a"],
    });
    const named = { method: "POST", body: '{"model":"a"}' };
    const headers = { "x-api-key": limited.key, "content-type": "application/json" };
    expect((await gateway.ask("/v1/b", { ...named, headers })).status).toBe(200);
    const refused = await gateway.ask("/v1/m", { ...named, headers });
    expect([refused.status, refused.headers.get("x-proxy-error")]).toEqual([403, "MODEL_NOT_ALLOWED"]);

    // The client's own headers count for the new path, too; those of the configuration do not.
    const permissions = ["api:*:/v2/**", "api:POST:/v3/**"];
    const { body: poster } = await manage(gateway, "POST", "/keys", { name: "v2", permissions });
    const post = { method: "POST", headers: { "x-api-key": poster.key, "X-HTTP-Method-Override": "DELETE" } };
    expect((await gateway.ask("/v2/a", post)).status).toBe(403);
    expect((await gateway.ask("/v2/b", post)).status).toBe(200);
    expect((await gateway.ask("/v2/a", { method: "POST", headers: { "x-api-key": poster.key } })).status).toBe(200);
  });

  test("A client that leaves while a hook waits ends its exchange, and the hook's signal is aborted", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `export default { name: "wait", onRequest: (request) => new Promise((resolve, reject) => {
        request.signal.addEventListener("abort", () => reject(new Error("aborted late")));
      }) }`,
      { services: { api: { baseUrl: upstream.url } } },
    );
    const abort = new AbortController();
    const asked = gateway.ask("/x", { signal: abort.signal });
    setTimeout(() => abort.abort(), 30);
    await expect(asked).rejects.toThrow();
    await eventually(() => gateway.exchanges().length === 1, "the access line");
    expect(gateway.exchanges()).toMatchObject([{ status: 499, outcome: "client-left", attempts: 0 }]);
    await eventually(() => gateway.logText().includes("aborted late"), "the line of the late failure");
    expect(upstream.requests).toHaveLength(0);
  });

  test("A WebSocket's handshake passes onRequest, which may refuse it; onResponse is not called", async () => {
    const echo = await startWebSocketEcho();
    const gateway = await startHookedGateway(
      `export default { name: "ws",
        async onRequest(request) {
          request.headers.set("x-is", String(request.isWebSocket));
          if (request.path === "/no") request.refuse(403);
        },
        onResponse() { throw new Error("called"); } }`,
      { services: { api: { baseUrl: echo.url, ws: true } } },
    );
    const open = (path: string) =>
      new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/api${path}`, { headers: { "x-api-key": PROXY_KEY } });
    const socket = open("/yes");
    await once(socket, "open");
    expect(echo.requests[0]?.headers["x-is"]).toBe("true");
    socket.send("hello");
    expect(String((await once(socket, "message"))[0])).toBe("hello");
    socket.terminate();
    const refused = open("/no");
    refused.on("error", () => {});
    const [, response] = await once(refused, "unexpected-response");
    expect([response.statusCode, response.headers["x-proxy-error"]]).toEqual([403, "REFUSED_BY_HOOK"]);
    expect(echo.requests).toHaveLength(1);
  });
});

describe("onResponse", () => {
  test("A hook changes status and headers, and the gateway's own rules apply to what it made of them", async () => {
    const upstream = await startUpstream((req, res) => {
      res.writeHead(200, "Fine", { "x-echo": `got ${req.headers.authorization}`, "x-drop": "1", etag: '"a"' });
      res.end("body");
    });
    const gateway = await startHookedGateway(
      `export default { name: "respond", async onResponse(response) {
        const { service, method, path, query, status, caller } = response;
        response.headers.set("x-seen", [service, method, path, query, status, caller.id, response.headers.get("x-echo")].join(" "));
        response.headers.delete("X-Drop");
        response.headers.append("Vary", "X-One");
        response.headers.append("link", "<" + "${upstream.url}" + "/next>; rel=next");
        response.status = 203;
      } }`,
      { env: { API_TOKEN: TOKEN }, services: { api: { baseUrl: upstream.url, auth: BEARER } } },
    );
    const response = await gateway.ask("/x?y=1");
    expect([response.status, response.statusText, await response.text()]).toEqual([
      203,
      "Non-Authoritative Information",
      "body",
    ]);
    const { headers } = response;
    expect(headers.get("x-seen")).toBe("api GET /x y=1 200 proxy-key got Bearer ***");
    expect(headers.get("x-echo")).toBe("got Bearer ***");
    expect([headers.has("x-drop"), headers.get("etag")]).toEqual([false, '"a"']);
    expect(headers.get("vary")).toContain("X-One");
    expect(headers.get("link")).toBe(`<${gateway.url}/proxy/api/next>; rel=next`);
    expect(headers.get("x-proxy-service")).toBe("api");
  });

  test("The query that a hook sees of a response has no key of the gateway, also for a stored response", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(200, { "cache-control": "max-age=60" }).end("ok"));
    const gateway = await startHookedGateway(
      `export default { name: "query", onResponse(r) { r.headers.set("x-seen", r.path + "?" + Buffer.from(r.query).toString("hex")); } }`,
      {
        env: { API_TOKEN: TOKEN },
        services: {
          api: { baseUrl: upstream.url, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "API_TOKEN" } },
          cached: { baseUrl: upstream.url, auth: BEARER, cache: true },
        },
      },
    );
    const queryOf = async (path: string) => {
      const seen = (await fetch(`${gateway.url}/proxy/${path}`)).headers.get("x-seen") ?? "";
      return Buffer.from(seen.slice(3), "hex").toString();
    };
    expect(await queryOf(`api/x?a=1&%61pi_key=${PROXY_KEY}&b=2`)).toBe("a=1&b=2");
    expect(await queryOf(`api/x?key=${PROXY_KEY}&z=1`)).toBe("z=1");
    for (let i = 0; i < 2; i++) expect(await queryOf(`cached/x?a=1&api_key=${PROXY_KEY}`)).toBe("a=1");
    expect(upstream.requests).toHaveLength(3);
  });

  test("A long body streams unchanged after an asynchronous hook, for HEAD and for a status without a body too", async () => {
    const body = Buffer.alloc(3_000_000, "0123456789abcdef");
    const upstream = await startUpstream((req, res) => {
      if (req.url === "/304") return void res.writeHead(304, { etag: '"a"' }).end();
      res.writeHead(200, { "content-length": body.length });
      res.end(req.method === "HEAD" ? undefined : body);
    });
    const gateway = await startHookedGateway(
      `export default { name: "later", async onResponse(response) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        response.headers.set("x-later", "1");
      } }`,
      { services: { api: { baseUrl: upstream.url } } },
    );
    const answers = await Promise.all([gateway.ask("/a"), gateway.ask("/b", { method: "HEAD" }), gateway.ask("/304")]);
    expect(answers.map(({ status, headers }) => [status, headers.get("x-later")])).toEqual([
      [200, "1"],
      [200, "1"],
      [304, "1"],
    ]);
    expect(Buffer.from(await (answers[0] as Response).arrayBuffer()).equals(body)).toBe(true);
    // The connections are in order: the same ones serve the next requests.
    expect((await (await gateway.ask("/a")).arrayBuffer()).byteLength).toBe(body.length);
    expect(gateway.exchanges().every(({ outcome }) => outcome === "relayed")).toBe(true);
  });

  test("A client that leaves while onResponse waits aborts the upstream's response", async () => {
    const upstream = await startUpstream((_, res) => void res.writeHead(200).write("begin"));
    const gateway = await startHookedGateway(
      'export default { name: "wait", onResponse: () => new Promise(() => {}) }',
      { services: { api: { baseUrl: upstream.url } } },
    );
    const client = httpRequest(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } }).end();
    client.on("error", () => {});
    await eventually(() => upstream.requests.length === 1, "the request at the upstream");
    setTimeout(() => client.destroy(), 20);
    await eventually(() => gateway.exchanges().length === 1, "the access line");
    expect(gateway.exchanges()).toMatchObject([{ status: 499, outcome: "client-left" }]);
    await eventually(() => upstream.sockets.size === 0, "the end of the upstream's connection");
  });

  test("The upstream's own status counts for its credential, not the one of a hook", async () => {
    const upstream = await startUpstream((req, res) => res.writeHead(req.url === "/401" ? 401 : 200).end());
    const gateway = await startHookedGateway(
      'export default { name: "hide", onResponse: (response) => { response.status = response.status === 401 ? 404 : 401; } }',
      { env: { API_TOKEN: TOKEN }, services: { api: { baseUrl: upstream.url, auth: BEARER } } },
    );
    expect([(await gateway.ask("/401")).status, (await gateway.ask("/200")).status]).toEqual([404, 401]);
    const { services } = (await (await fetch(`${gateway.url}/status`)).json()) as {
      services: { key: string; credential: { refused: { count: number } } }[];
    };
    expect(services.find(({ key }) => key === "api")?.credential.refused).toMatchObject({ count: 1, lastStatus: 401 });
  });
});

test("A signed request that the upstream accepted is delivered once, also if a hook then fails or changes the status", async () => {
  const upstream = await startUpstream((req, res) => void req.resume().on("end", () => res.end("ok")));
  const gateway = await startHookedGateway(
    `export default { name: "after", onResponse(response) {
      if (response.path === "/fails") throw new Error("no");
      response.status = 500;
    } }`,
    {
      env: { SLACK_SECRET: "a-signing-secret" },
      services: {
        api: { baseUrl: upstream.url, access: "signature", verify: { scheme: "slack", secretEnvVar: "SLACK_SECRET" } },
      },
    },
  );
  const timestamp = String(Math.floor(Date.now() / 1000));
  for (const [path, body] of [
    ["/fails", "a=1"],
    ["/changes", "a=2"],
  ] as const) {
    const signature = createHmac("sha256", "a-signing-secret").update(`v0:${timestamp}:${body}`).digest("hex");
    const headers = { "x-slack-request-timestamp": timestamp, "x-slack-signature": `v0=${signature}` };
    const send = async () => (await gateway.ask(path, { method: "POST", body, headers })).status;
    expect([path, await send(), await send()]).toEqual([path, 500, 401]);
  }
  expect(upstream.requests).toHaveLength(2);
});

describe("onComplete", () => {
  test("A hook gets the masked fields of the access line of each exchange, refused ones included, and its errors change nothing", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `export default [
        { name: "broken", onComplete() { throw new Error("broken down"); } },
        { name: "late", async onComplete() { throw new Error("rejected later"); } },
        { name: "report", onComplete(summary) {
          let error = "none";
          try { summary.status = 1; } catch (thrown) { error = thrown.constructor.name; }
          process.emit("byteproxy-test", { summary, error });
        } }]`,
      { services: { api: { baseUrl: upstream.url } }, env: { CORS_ORIGINS: "https://app.example" } },
    );
    const reported: { summary: Record<string, unknown>; error: string }[] = [];
    const listen = (each: (typeof reported)[number]) => void reported.push(each);
    process.on("byteproxy-test" as never, listen as never);
    try {
      expect((await gateway.ask(`/x?api_key=${PROXY_KEY}`)).status).toBe(200);
      expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(401);
      const headers = { origin: "https://app.example", "access-control-request-method": "PUT" };
      await fetch(`${gateway.url}/proxy/api/x`, { method: "OPTIONS", headers });
      await eventually(() => gateway.exchanges().length === 3, "the access lines");
    } finally {
      process.off("byteproxy-test" as never, listen as never);
    }
    const lines = gateway.exchanges().map(({ level, msg, ...fields }) => fields);
    expect(reported.map(({ summary }) => summary)).toEqual(lines.slice(0, 2));
    expect(reported.map(({ error }) => error)).toEqual(["TypeError", "TypeError"]);
    expect(JSON.stringify(reported)).not.toContain(PROXY_KEY);
    await eventually(() => gateway.logText().includes("rejected later"), "the line of the rejection");
    expect(gateway.logText()).toContain("the hook broken threw in onComplete");
    expect(gateway.logText()).toContain("the hook late rejected its promise in onComplete");
  });
});

describe("Failing hooks", () => {
  const SOURCE = `
    const never = () => new Promise(() => {});
    const acts = {
      throws() { throw new Error("own fault"); },
      async rejects() { throw new Error("own fault"); },
      never,
      number: () => 403,
      false: () => false,
      object: () => ({ status: 403 }),
      promised: async () => false,
      thenable: () => ({ get then() { throw new Error("own fault"); } }),
      nothing: () => { throw undefined; },
      ill: () => { throw Object.create(null); },
      getter: () => { throw Object.defineProperty(new Error(), "message", { get() { throw 1; } }); },
    };
    export default { name: "fails",
      onRequest: (request) => acts[request.headers.get("x-request")]?.(request),
      onResponse: (response) => acts[response.query]?.(response) }`;

  test("A hook that throws, rejects, never settles or returns a value is 500 for its own exchange, with its name in the log", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(SOURCE, {
      services: { api: { baseUrl: upstream.url }, brief: { baseUrl: upstream.url, timeoutMs: 300 } },
    });
    const names = ["throws", "rejects", "number", "false", "object", "promised", "thenable", "nothing", "ill"];
    const cases = [...names, "getter"].flatMap((name) => [
      gateway.ask("/x", { headers: { "x-request": name } }),
      gateway.ask(`/x?${name}`),
      gateway.ask("/x"),
    ]);
    for (const [index, asked] of cases.entries()) {
      const response = await asked;
      if (index % 3 === 2) expect(await response.text()).toBe("ok");
      else {
        expect([response.status, response.headers.get("x-proxy-error")]).toEqual([500, "INTERNAL_ERROR"]);
        expect(await response.text()).not.toMatch(/fault|fails/);
      }
    }
    const brief = (path: string, headers = {}) =>
      fetch(`${gateway.url}/proxy/brief${path}`, { headers: { "x-api-key": PROXY_KEY, ...headers } });
    const never = await Promise.all([brief("/x", { "x-request": "never" }), brief("/x?never")]);
    expect(never.map(({ status }) => status)).toEqual([500, 500]);
    await eventually(() => gateway.exchanges().length === cases.length + 2, "the access lines");
    const errors = gateway.lines().filter(({ level }) => level === 50) as { err: { message: string } }[];
    expect(errors).toHaveLength(22);
    for (const phase of ["onRequest", "onResponse"]) {
      const reported = errors.map(({ err }) => err.message).filter((message) => message.endsWith(`in ${phase}`));
      expect(new Set(reported)).toEqual(
        new Set([
          `the hook fails threw in ${phase}`,
          `the hook fails rejected its promise in ${phase}`,
          `the hook fails did not settle within 300 ms in ${phase}`,
          ...["number", "boolean", "object"].map((type) =>
            phase === "onRequest"
              ? `the hook fails returned a value (${type}); call request.refuse() to refuse a request, in ${phase}`
              : `the hook fails returned a value (${type}), in ${phase}`,
          ),
        ]),
      );
    }
    // Only a request that passed onRequest is sent.
    expect(upstream.requests).toHaveLength(21);
    const { body } = await manage(gateway, "GET", "/diagnostics");
    expect(body.checks).toContainEqual(
      expect.objectContaining({
        id: "hooks",
        status: "warn",
        summary: expect.stringContaining("the hook fails failed 22 times"),
      }),
    );
  });

  test("A hook over 50 ms is logged with its name and time, and its time is not the upstream's", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `const wait = () => new Promise((resolve) => setTimeout(resolve, 80));
      export default { name: "slow", onRequest: wait, onResponse: wait, onComplete() { const end = Date.now() + 60; while (Date.now() < end); } }`,
      { services: { api: { baseUrl: upstream.url, timeoutMs: 1_000 } } },
    );
    await gateway.ask("/x");
    const slow = () => gateway.lines().filter(({ msg }) => msg === "a hook took over 50 ms");
    await eventually(() => slow().length === 3, "three lines");
    expect(slow().map(({ hook, phase }) => [hook, phase])).toEqual([
      ["slow", "onRequest"],
      ["slow", "onResponse"],
      ["slow", "onComplete"],
    ]);
    expect(slow().every(({ durationMs }) => (durationMs as number) > 50)).toBe(true);
    const [{ durationUs, upstreamUs } = {}] = gateway.exchanges() as { durationUs: number; upstreamUs: number }[];
    expect(durationUs as number).toBeGreaterThan(150_000);
    expect((durationUs as number) - (upstreamUs as number)).toBeGreaterThan(150_000);
  });
});

describe("Reload", () => {
  test("A reload loads a changed module, keeps an unchanged one with its state, and refuses one that does not load", async () => {
    const upstream = await startUpstream();
    const version = (name: string) =>
      `let count = 0; export default { name: "${name}", onRequest: (request) => request.headers.set("x-hook", "${name}" + ++count) }`;
    const gateway = await startHookedGateway(version("one"), { services: { api: { baseUrl: upstream.url } } });
    const reload = () => manage(gateway, "POST", "/reload");
    const next = async () => {
      await gateway.ask("/x");
      return upstream.requests.at(-1)?.headers["x-hook"];
    };
    expect(await next()).toBe("one1");
    expect((await reload()).status).toBe(200);
    expect(await next()).toBe("one2");
    for (const bad of ["export default {", 'throw new Error("no")', 'export default { name: "x" }']) {
      rewriteHooks(gateway.path, bad);
      const { status, body } = await reload();
      expect([status, body.code]).toEqual([400, "VALIDATION_ERROR"]);
      expect(body.details.configuration[0]).toContain(`MIDDLEWARE_PATH: the hooks in ${gateway.path} cannot be used`);
    }
    expect(await next()).toBe("one3");
    rewriteHooks(gateway.path, version("two"));
    expect((await reload()).status).toBe(200);
    expect(await next()).toBe("two1");
  });
});
