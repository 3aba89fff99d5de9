/** A user hook cannot, by mistake, smuggle a message, leave the base URL, forge the gateway's headers or send its keys. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY } from "../support/gateway.ts";
import { startHookedGateway, writeHooks } from "../support/hooks.ts";
import { startProcess } from "../support/process.ts";
import { startUpstream } from "../support/upstream.ts";

const TOKEN = "the-token-of-the-upstream";

/** Each is the body of a hook; `r` is the request or the response. All of them must fail. */
const IN_BOTH: readonly string[] = [
  // Injection: a line break, a NUL, a name with a space, a colon or a line break.
  ...["a\\r\\nX-B: 1", "a\\nb", "a\\0b", "\\u0100"].map((value) => `r.headers.set("x-a", "${value}")`),
  ...["x a", "x:a", "x\\r\\ny", "", "ü"].map((name) => `r.headers.append("${name}", "1")`),
  ...[
    "connection",
    "Transfer-Encoding",
    "content-length",
    "CONTENT_LENGTH",
    "_content-length_",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
  ].map((name) => `r.headers.set("${name}", "1")`),
  'r.headers.append("proxy-authorization", "1")',
  // Garbage.
  'r.headers.set("x-a", 1)',
  'r.headers.set("x-a", undefined)',
  'r.headers.set("x-a", { toString() { throw 1 } })',
  'r.headers.set("x-a", ["a", "b"])',
  "r.headers.set({ toString: () => 'x-a' }, '1')",
  "r.headers.set(Symbol('a'), '1')",
  "r.headers.get(1)",
  // The objects are frozen.
  "r.service = 'other'",
  "r.method = 'DELETE'",
  "r.headers = new Map()",
  "r.headers.get = () => 'x'",
  "r.extra = 1",
  "delete r.service",
  "r.__proto__ = { path: '/x' }",
  "Object.setPrototypeOf(r.headers, { a: 1 })",
  "Object.defineProperty(r, 'requestId', { value: 'x' })",
];

const IN_REQUESTS: readonly string[] = [
  // Traversal, in the spellings that servers know, and other ends of a path.
  ...["/..", "/../x", "/a/%2e%2e/x", "/a/..%2fx", "/a/..\\\\x", "/a/..;x/b", "/%2E%2E%5c", "/./x"].map(
    (path) => `r.path = "${path}"`,
  ),
  ...["x", "//evil.example/x?y", "http://evil.example/", "/a b", "/a\\r\\nb", "/a#b", "/a?b", "/%", "/%00", "/ü€"].map(
    (path) => `r.path = "${path}"`,
  ),
  "r.path = undefined",
  "r.path = { toString: () => '/x' }",
  "r.path = '/' + 'x'.repeat(20_000)",
  'r.query = "a b"',
  'r.query = "a#b"',
  'r.query = "a\\r\\nb"',
  "r.query = null",
  // The credential's places, and keys of the gateway.
  'r.query = "key=mine"',
  'r.query = "a=1&api_key=x"',
  'r.headers.set("authorization", "Bearer mine")',
  'r.headers.set("X-Credential", "mine")',
  'r.headers.set("x_credential", "mine")',
  ...["Content-Type", "content-md5", "content_encoding"].map((name) => `r.headers.set("${name}", "mine")`),
  `r.headers.set("x-a", "${PROXY_KEY}")`,
  `r.headers.set("x-a", "Bearer ${MANAGEMENT_KEY}")`,
  `r.path = "/x/${PROXY_KEY}"`,
  `r.query = "a=${PROXY_KEY}"`,
  // What the gateway writes.
  ...["host", "via", "x-request-id", "traceparent", "expect", "cookie", "sec-websocket-key", "X_Request_Id"].map(
    (name) => `r.headers.set("${name}", "1")`,
  ),
  'r.headers.delete("via")',
  // Refusals.
  ...["200", "399", "600", "NaN", "'403'", "403.5"].map((status) => `r.refuse(${status})`),
  "r.refuse(403, { message: 7 })",
  "r.refuse(403, { message: '' })",
  "r.refuse(403, { get message() { throw 1 } })",
  "r.refuse(403, { code: 'not a code' })",
  "r.refuse(403, { hint: 'x'.repeat(501) })",
  "return { status: 403 }",
  "return r",
  "return Promise.resolve(true)",
];

const IN_RESPONSES: readonly string[] = [
  ...["x-proxy-error", "X-Proxy-Service", "x_proxy_duration", "access-control-allow-origin", "alt-svc"].map(
    (name) => `r.headers.set("${name}", "1")`,
  ),
  ...["x-request-id", "set-cookie", "x-accel-redirect", "strict-transport-security", "service-worker-allowed"].map(
    (name) => `r.headers.append("${name}", "1")`,
  ),
  'r.headers.delete("content-length")',
  ...["100", "199", "204", "205", "304", "600", "'200'", "NaN", "undefined"].map((status) => `r.status = ${status}`),
  "r.path = '/x'",
  "return new Response()",
];

function moduleOf(phase: "onRequest" | "onResponse", acts: readonly string[]): string {
  const list = acts.map((act) => `(r) => { ${act} }`).join(",\n");
  return `const acts = [${list}];
    export default { name: "hostile", ${phase}: (r) => acts[Number(/act=(\\d+)/.exec(r.query)?.[1])]?.(r) }`;
}

describe("What a hook must not do", () => {
  test.each([
    ["onRequest", [...IN_BOTH, ...IN_REQUESTS]],
    ["onResponse", [...IN_BOTH, ...IN_RESPONSES]],
  ] as const)(
    "Each forbidden act in %s is 500 for its exchange, with the hook's name in the log",
    async (phase, acts) => {
      const upstream = await startUpstream((_, res) => res.writeHead(200, { "content-length": 2 }).end("ok"));
      const auth = {
        type: "custom",
        secrets: { token: { envVar: "API_TOKEN" } },
        headers: { "X-Credential": "{token}" },
        query: { key: "{token}" },
        form: { field: "{token}" },
      } as const;
      const gateway = await startHookedGateway(moduleOf(phase, acts), {
        env: { API_TOKEN: TOKEN },
        services: { api: { baseUrl: `${upstream.url}/base/`, auth } },
      });
      const passed: string[] = [];
      for (const [index, act] of acts.entries()) {
        const response = await gateway.ask(`/x?act=${index}`);
        if (response.status !== 500 || response.headers.get("x-proxy-error") !== "INTERNAL_ERROR") passed.push(act);
        const text = await response.text();
        expect(text, act).not.toContain("hostile");
      }
      expect(passed).toEqual([]);
      const errors = gateway.lines().filter(({ level }) => level === 50) as { err: { message: string } }[];
      expect(errors).toHaveLength(acts.length);
      expect(errors.every(({ err }) => err.message.startsWith("the hook hostile "))).toBe(true);
      expect(upstream.requests).toHaveLength(phase === "onRequest" ? 0 : acts.length);
      for (const secret of [PROXY_KEY, TOKEN]) expect(gateway.logText()).not.toContain(secret);
      // Others are served, also on the same connections.
      expect(await (await gateway.ask("/x")).text()).toBe("ok");
      expect(Object.prototype).not.toHaveProperty("polluted");
    },
  );

  test("Names of members of objects are headers like any other, and change no prototype", async () => {
    const upstream = await startUpstream((_, res) => res.end());
    const names = ["__proto__", "constructor", "hasOwnProperty", "prototype"];
    const set = names.map((name) => `r.headers.set("${name}", "1");`).join(" ");
    const gateway = await startHookedGateway(
      `export default { name: "names", onRequest(r) { ${set} }, onResponse(r) { ${set} } }`,
      { services: { api: { baseUrl: upstream.url } } },
    );
    const response = await gateway.ask("/x");
    expect(response.status).toBe(200);
    for (const name of names) {
      expect(upstream.requests[0]?.rawHeaders).toContain(name);
      expect(response.headers.get(name)).toBe("1");
    }
    expect(({} as Record<string, unknown>)["1"]).toBeUndefined();
  });

  test("A hook that keeps its objects can neither change nor read the message after its step", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `let kept; const errors = [];
      const tryTo = (act) => { try { act(); errors.push("none"); } catch (error) { errors.push(error.constructor.name); } };
      export default [{ name: "keep",
        onRequest(request) { kept = request; },
        onResponse(response) {
          tryTo(() => kept.headers.set("x-late", "1"));
          tryTo(() => { kept.path = "/late"; });
          tryTo(() => kept.refuse(403));
          response.headers.set("x-errors", errors.join());
          response.headers.set("x-sees", [...kept.headers].join());
        } }]`,
      {
        env: { API_TOKEN: TOKEN },
        services: {
          api: { baseUrl: upstream.url, auth: { type: "api-key", headerName: "X-Plain", tokenEnvVar: "API_TOKEN" } },
        },
      },
    );
    const { headers } = await gateway.ask("/x");
    expect(upstream.requests[0]?.headers["x-plain"]).toBe(TOKEN);
    expect(headers.get("x-errors")).toBe("TypeError,TypeError,TypeError");
    // A secret in a response would be shown as ***, so the name is searched.
    expect(headers.get("x-sees")).not.toMatch(/x-plain/i);
  });

  test("A secret that a hook puts into a response or a refusal is masked, as one of the upstream is", async () => {
    const upstream = await startUpstream();
    const gateway = await startHookedGateway(
      `export default {
        name: "leak",
        onRequest(request) {
          if (request.path === "/refused") request.refuse(403, { message: "it is ${TOKEN}", hint: "not ${TOKEN}" });
        },
        onResponse(response) { response.headers.set("x-leak", "it is ${TOKEN}"); },
      }`,
      {
        env: { API_TOKEN: TOKEN },
        services: { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "API_TOKEN" } } },
      },
    );
    expect((await gateway.ask("/x")).headers.get("x-leak")).toBe("it is ***");
    expect(await (await gateway.ask("/refused")).json()).toMatchObject({ message: "it is ***", hint: "not ***" });
  });
});

describe("A start", () => {
  test("A start with hooks that cannot be used ends with exit code 1 and one line", async () => {
    const path = writeHooks('throw new Error("no database")');
    const run = startProcess({ MIDDLEWARE_PATH: path });
    expect(await run.ended).toBe(1);
    expect(run.err()).toBe(
      `MIDDLEWARE_PATH: the hooks in ${path} cannot be used: it did not load: Error: no database (line 1); correct the module, or unset MIDDLEWARE_PATH.\n`,
    );
  });
});
