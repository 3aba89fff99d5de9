/** `hosts` and `port` together: links, cookies, explanations, the configuration and changes over REST. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type ConfigProblems, loadConfig } from "../../src/config/load-config.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" };

function send(port: number, host: string, path: string, lines: readonly string[] = []) {
  const head = [`GET ${path} HTTP/1.1`, `Host: ${host}`, `x-api-key: ${PROXY_KEY}`, ...lines, "Connection: close"];
  return rawRequest(port, `${head.join("\r\n")}\r\n\r\n`);
}

const headersOf = (head: string, name: string) =>
  [...head.matchAll(new RegExp(`^${name}: (.*)$`, "gim"))].map(([, value = ""]) => value.trim());

/** A gateway whose upstream `a` responds with the headers that a test sets. */
async function start(env: Record<string, string> = {}) {
  const sent: { headers: Record<string, string | string[]> } = { headers: {} };
  const upstream = await startUpstream((_, res) => {
    for (const [name, value] of Object.entries(sent.headers)) res.setHeader(name, value);
    res.end("ok");
  });
  const [port, otherPort] = [await freePort(), await freePort()];
  const gateway = await startGateway({
    env: { ...KEYS, ...env },
    services: {
      a: {
        baseUrl: `${upstream.url}/v1`,
        versionedBaseUrls: { old: `${upstream.url}/v0` },
        hosts: ["a.localhost", "a.test:3420"],
        port,
        cookies: true,
      },
      b: { baseUrl: upstream.url, hosts: ["b.localhost", "b.test:9"], port: otherPort, cookies: true },
    },
  });
  const link = async (location: string, at: { host?: string; port?: number; path?: string } = {}) => {
    sent.headers = { location };
    const { head } = await send(at.port ?? gateway.port, at.host ?? "a.localhost:3420", at.path ?? "/users/1");
    return [headersOf(head, "Location")[0], headersOf(head, "X-Proxy-Link-Blocked")[0] === "1"];
  };
  return { gateway, upstream, port, otherPort, sent, link };
}

describe("Links at a service's own address", () => {
  test("They lead to the host or port that the client used, without /proxy and PUBLIC_URL", async () => {
    const { gateway, upstream, port, link } = await start({
      PUBLIC_URL: "https://gw.example/base",
      TRUST_PROXY: "127.0.0.1",
    });
    const to = (path: string) => link(`${upstream.url}${path}`);
    expect(await to("/v1/users?page=2")).toEqual(["http://a.localhost:3420/users?page=2", false]);
    expect(await to("/v1")).toEqual(["http://a.localhost:3420", false]);
    expect(await to("/v0/x")).toEqual(["http://a.localhost:3420/old/x", false]);
    expect(await to("/v1//evil.test/x")).toEqual(["http://a.localhost:3420//evil.test/x", false]);
    expect(await link("/v1/next")).toEqual(["http://a.localhost:3420/next", false]);
    expect(await link("/elsewhere")).toEqual([`${upstream.url}/elsewhere`, false]);
    expect(await link("../next")).toEqual(["http://a.localhost:3420/next", false]);
    expect(await link("../../../other")).toEqual([`${upstream.url}/other`, false]);
    expect(await link("next")).toEqual(["next", false]);
    expect(await link(`${upstream.url}/v1/x`, { host: `localhost:${port}`, port })).toEqual([
      `http://localhost:${port}/x`,
      false,
    ]);
    const forwarded = ["X-Forwarded-Proto: https", "X-Forwarded-Host: b.localhost"];
    const { head } = await send(gateway.port, "a.localhost", "/x", forwarded);
    expect(headersOf(head, "Location")).toEqual(["https://a.localhost/x"]);
  });

  test("Without a known host they are paths of the service, and never name another host", async () => {
    const { upstream, port, link } = await start({ ALLOWED_HOSTS: "gw.test" });
    const at = { host: "unknown.test", port };
    expect(await link(`${upstream.url}/v1`, at)).toEqual(["/", false]);
    expect(await link(`${upstream.url}/v1?x=1`, at)).toEqual(["/?x=1", false]);
    expect(await link(`${upstream.url}/v1/x`, at)).toEqual(["/x", false]);
    expect(await link(`${upstream.url}/v0/x`, at)).toEqual(["/old/x", false]);
    for (const path of ["//evil.test/x", "/\\evil.test/x", "/\t/evil.test/x", "//\t\\evil.test"]) {
      const [location] = await link(`${upstream.url}/v1${path}`, at);
      expect(new URL(location as string, "http://client.test/users/1").host, path).toBe("client.test");
    }
  });

  test("A link to another service's host or port, or to the gateway's own, is replaced by the service's root, in every spelling", async () => {
    const { gateway, otherPort, port, link } = await start();
    const mine = gateway.port;
    const foreign = [
      "http://b.localhost:3420/x",
      "http://b.localhost/x",
      "https://B.LOCALHOST.:9999/x",
      "//b%2elocalhost/x",
      "http://\\b.localhost/x",
      "\\\\b.localhost\\x",
      "http://user@b.localhost/x",
      "http://b.test:9/x",
      `http://localhost:${otherPort}/x`,
      `http://127.1:${otherPort}/x`,
      `http://[::ffff:127.0.0.1]:${otherPort}/x`,
      `http://0x7f.0.0.1:${otherPort}/x`,
      `http://any.localhost:${otherPort}/x`,
      `http://127.0.0.1:${mine}/manage/services`,
      `http://127.0.0.1:${mine}/health`,
      `http://localhost:${mine}/proxy/b/x`,
    ];
    for (const location of foreign) {
      expect(await link(location), location).toEqual(["http://a.localhost:3420/", true]);
      expect(await link(location, { host: `localhost:${port}`, port }), location).toEqual([
        `http://localhost:${port}/`,
        true,
      ]);
    }
    for (const location of foreign.slice(0, 4)) {
      expect(await link(location, { host: "127.0.0.1:1", path: "/proxy/a/x" }), location).toEqual([
        "http://127.0.0.1:1/proxy/a/",
        true,
      ]);
    }
  });

  test("A link to the same service by another of its addresses, and one to another server, is unchanged", async () => {
    const { gateway, port, link } = await start();
    for (const location of [
      "http://a.localhost:3420/x",
      "http://a.test:3420/x",
      `http://localhost:${port}/x`,
      `http://127.0.0.1:${gateway.port}/proxy/a/x`,
      "https://example.test/x",
      "http://b.test:10/x",
    ]) {
      expect(await link(location), location).toEqual([location, false]);
    }
    expect(await link("http://a.localhost:3420/x", { host: "127.0.0.1:1", path: "/proxy/a/x" })).toEqual([
      "http://a.localhost:3420/x",
      false,
    ]);
  });
});

describe("Cookies at a service's own address", () => {
  test("At a host for every port they have the paths of the service, and a __Host- cookie is relayed", async () => {
    const { gateway, upstream, sent } = await start();
    sent.headers = {
      "set-cookie": ["id=1; Domain=x.test; Path=/v1/users; Secure", "__Host-s=1; Path=/; Secure", "n=1; Path=/other"],
    };
    const browser = ["User-Agent: Mozilla/5.0", "Cookie: mine=1"];
    const { head } = await send(gateway.port, "a.localhost:3420", "/x", browser);
    expect(headersOf(head, "Set-Cookie")).toEqual([
      "id=1; Secure; Path=/users",
      "__Host-s=1; Secure; Path=/",
      "n=1; Path=/",
    ]);
    expect(upstream.requests.at(-1)?.headers.cookie).toBe("mine=1");
  });

  test("At a port, or a host with a port, a browser's cookies are neither forwarded nor relayed: other services have the same jar", async () => {
    const { gateway, upstream, sent, port } = await start();
    sent.headers = { "set-cookie": ["id=1; Path=/v1/", "__Host-s=1; Path=/; Secure"] };
    const browser = ["User-Agent: Mozilla/5.0", "Cookie: of=b"];
    for (const [to, host] of [
      [port, `localhost:${port}`],
      [gateway.port, "a.test:3420"],
    ] as const) {
      const page = await send(to, host, "/x", browser);
      expect([headersOf(page.head, "Set-Cookie"), upstream.requests.at(-1)?.headers.cookie]).toEqual([[], undefined]);
      // A program has its own jar.
      const program = await send(to, host, "/x", ["Cookie: mine=1"]);
      expect(headersOf(program.head, "Set-Cookie")).toEqual(["id=1; Path=/"]);
      expect(upstream.requests.at(-1)?.headers.cookie).toBe("mine=1");
    }
  });
});

describe("Explanations and lists", () => {
  test("POST /manage/explain explains a request to a host and to a port as the gateway would serve it", async () => {
    const { gateway, upstream, port } = await start();
    const explain = async (body: object) =>
      (await manage(gateway, "POST", "/explain", { method: "GET", caller: "proxy-key", ...body })).body;
    expect(await explain({ path: "/users?x=1", headers: { Host: "A.localhost." } })).toMatchObject({
      verdict: "forward",
      service: "a",
      upstream: { url: `${upstream.url}/v1/users?x=1` },
    });
    expect(await explain({ path: "/manage", port })).toMatchObject({
      verdict: "forward",
      service: "a",
      upstream: { url: `${upstream.url}/v1/manage` },
    });
    expect(await explain({ path: "/x", port, headers: { Host: "b.localhost" } })).toMatchObject({ service: "b" });
    expect(await explain({ path: "/old/../x", port })).toMatchObject({
      verdict: "refuse",
      refusal: { code: "INVALID_PATH" },
    });
    expect(await explain({ path: "/users" })).toMatchObject({
      code: "VALIDATION_ERROR",
      details: { path: [expect.any(String)] },
    });
    expect(await explain({ path: "/users", port: 1 })).toMatchObject({
      details: { port: ["allowed: the port of a service"] },
    });
    expect(upstream.requests).toEqual([]);
  });

  test("/proxy/services shows callers the addresses, and services without any have no such members", async () => {
    const { gateway, port } = await start();
    const answer = await fetch(`${gateway.url}/proxy/services`, { headers: { "x-api-key": PROXY_KEY } });
    const { services } = (await answer.json()) as { services: { key: string; hosts?: string[]; port?: number }[] };
    expect(services.find(({ key }) => key === "a")).toMatchObject({ hosts: ["a.localhost", "a.test:3420"], port });
    expect(Object.keys(services.find(({ key }) => key === "echo") ?? {})).not.toContain("hosts");
  });
});

describe("The configuration", () => {
  async function problemsOf(services: object, env: Record<string, string> = {}): Promise<readonly string[]> {
    const { directory } = await startGateway();
    const file = join(directory, "tried.json");
    writeFileSync(file, JSON.stringify({ services }));
    const processEnv = { HOST: "127.0.0.1", CONFIG_FILE: file, ...env };
    return loadConfig({ directory, processEnv }).then(
      () => [],
      (error: unknown) => (error as ConfigProblems).problems,
    );
  }
  const baseUrl = "https://api.test/";

  test.each([
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "1.2.3.4:80",
    "[::1]",
    "::1",
    "localhost",
    "LOCALHOST.",
    "localhost:3420",
    "*.localhost",
    "*",
    "a.*",
    "a..b",
    ".a",
    "a b",
    "a.test:0",
    "a.test:65536",
    "a.test:",
    "a.test/x",
    "http://a.test",
    "u@a.test",
    "a%2etest",
    "b\u00fccher.test",
    "a.1",
    "",
    `${"a".repeat(64)}.test`,
  ])("%j is no host of a service", async (host) => {
    expect(await problemsOf({ a: { baseUrl, hosts: [host] } })).toEqual([
      expect.stringContaining("services.a.hosts[0]: found"),
    ]);
  });

  test("A host of the gateway, in any case and with any port, and its ports, are problems", async () => {
    const env = {
      HOST: "gw.internal",
      PORT: "3420",
      MANAGEMENT_HOST: "ops.internal",
      MANAGEMENT_PORT: "3421",
      PUBLIC_URL: "https://Public.example/x",
      ...KEYS,
    };
    const problems = await problemsOf(
      {
        a: { baseUrl, hosts: ["GW.internal.:9", "ops.internal", "public.example:1", "fine.internal"], port: 3420 },
        b: { baseUrl, port: 3421 },
      },
      env,
    );
    expect(problems.map((line) => line.replace(/^.*services\.json[^ ]* /, ""))).toEqual([
      expect.stringContaining("found GW.internal.:9, the host of HOST"),
      expect.stringContaining("found ops.internal, the host of MANAGEMENT_HOST"),
      expect.stringContaining("found public.example:1, the host of PUBLIC_URL"),
      expect.stringContaining("found 3420, the same as PORT"),
      expect.stringContaining("found 3421, the same as MANAGEMENT_PORT"),
    ]);
  });

  test.each([
    [["x.test"], ["X.test."]],
    [["x.test"], ["x.test:3420"]],
    [["x.test:3420"], ["x.test"]],
    [["x.test:80"], ["x.test:443"]],
  ])("Two services with %j and %j are a problem that names both", async (first, second) => {
    const problems = await problemsOf({ first: { baseUrl, hosts: first }, second: { baseUrl, hosts: second } });
    expect(problems).toEqual([
      expect.stringMatching(/services\.second\.hosts\[0\]: found .* belongs to the service first/),
    ]);
  });

  test("Two services with one port are a problem; one name with two ports is none, and neither are repeated entries", async () => {
    expect(await problemsOf({ first: { baseUrl, port: 4001 }, second: { baseUrl, port: 4001 } })).toEqual([
      expect.stringMatching(/services\.second\.port: found 4001, which belongs to the service first/),
    ]);
    expect(
      await problemsOf({
        a: { baseUrl, hosts: ["x.test:1", "x.test", "X.TEST"] },
        b: { baseUrl, hosts: ["y.test:1"] },
      }),
    ).toEqual([]);
    expect(await problemsOf({ a: { baseUrl, hosts: ["y.test:2"] }, b: { baseUrl, hosts: ["y.test:1"] } })).toEqual([]);
  });
});

describe("Changes over REST", () => {
  async function startManaged() {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: KEYS,
      services: { a: { baseUrl: upstream.url, hosts: ["a.test"] }, b: { baseUrl: upstream.url } },
    });
    const made = await manage(gateway, "POST", "/keys", {
      name: "s",
      permissions: ["manage:services", "manage:keys", "manage:read"],
    });
    const limited = { "x-api-key": made.body.key as string };
    return { gateway, limited, baseUrl: upstream.url };
  }

  test("They need manage:* in every form: POST, PUT, PATCH, DELETE of an override and of a service", async () => {
    const { gateway, limited, baseUrl } = await startManaged();
    const port = await freePort();
    const requiresAll = { status: 403, body: { code: "INSUFFICIENT_PERMISSIONS", required: "manage:*" } };
    const asLimited = (method: string, path: string, body?: unknown) => manage(gateway, method, path, body, limited);
    expect(await asLimited("POST", "/services", { key: "c", config: { baseUrl, hosts: ["c.test"] } })).toMatchObject(
      requiresAll,
    );
    expect(await asLimited("POST", "/services", { key: "c", config: { baseUrl, port } })).toMatchObject(requiresAll);
    expect(await asLimited("PUT", "/services/b", { baseUrl, hosts: ["c.test"] })).toMatchObject(requiresAll);
    expect(await asLimited("PUT", "/services/a", { baseUrl })).toMatchObject(requiresAll);
    expect(await asLimited("PATCH", "/services/a", { hosts: null })).toMatchObject(requiresAll);
    expect(await asLimited("PATCH", "/services/a", { hosts: ["a.test", "more.test"] })).toMatchObject(requiresAll);
    expect(await asLimited("PATCH", "/services/b", { port })).toMatchObject(requiresAll);
    // Other members need no more than before.
    expect((await asLimited("PATCH", "/services/a", { retries: 1 })).status).toBe(200);
    expect((await manage(gateway, "PATCH", "/services/a", { hosts: ["other.test"] })).status).toBe(200);
    expect(await asLimited("DELETE", "/services/a")).toMatchObject(requiresAll);
    expect(
      (await manage(gateway, "POST", "/services", { key: "d", config: { baseUrl, hosts: ["d.test"] } })).status,
    ).toBe(201);
    expect(await asLimited("DELETE", "/services/d")).toMatchObject(requiresAll);
    expect((await manage(gateway, "DELETE", "/services/d")).status).toBe(204);
  });

  test("An address of another service is 409, also where the end of an override would take it back", async () => {
    const { gateway, baseUrl } = await startManaged();
    const duplicate = {
      status: 409,
      body: { code: "DUPLICATE_ENTRY", message: "The host A.TEST:1 of b belongs to a already." },
    };
    expect(await manage(gateway, "PATCH", "/services/b", { hosts: ["A.TEST:1"] })).toMatchObject(duplicate);
    expect((await manage(gateway, "PATCH", "/services/a", { hosts: [] })).status).toBe(200);
    expect((await manage(gateway, "PATCH", "/services/b", { hosts: ["a.test"] })).status).toBe(200);
    const undone = await manage(gateway, "DELETE", "/services/a");
    expect([undone.status, undone.body.message]).toEqual([409, "The host a.test of a belongs to b already."]);
    expect((await send(gateway.port, "a.test", "/x")).head).toContain("X-Proxy-Service: b");
    expect((await manage(gateway, "GET", "/services/a")).body).toMatchObject({
      source: "override",
      config: { hosts: [], baseUrl },
    });
  });

  test("The gateway's own hosts and ports are refused", async () => {
    const { gateway, baseUrl } = await startManaged();
    const refused = await manage(gateway, "POST", "/services", {
      key: "c",
      config: { baseUrl, hosts: ["localhost", "127.0.0.1"], port: 0 },
    });
    expect([refused.status, Object.keys(refused.body.details)]).toEqual([
      400,
      ["config.hosts[0]", "config.hosts[1]", "config.port"],
    ]);
  });

  test("A stored service whose host the services file has given to another one is out of use, and the reason is shown", async () => {
    const { gateway, baseUrl } = await startManaged();
    await manage(gateway, "POST", "/services", { key: "c", config: { baseUrl, hosts: ["c.test"] } });
    expect((await send(gateway.port, "c.test", "/x")).head).toContain("X-Proxy-Service: c");
    const services = { a: { baseUrl, hosts: ["a.test", "c.test"] }, b: { baseUrl } };
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
    expect(await gateway.reload()).toMatchObject({ isDone: true, removed: ["c"] });
    expect((await send(gateway.port, "c.test", "/x")).head).toContain("X-Proxy-Service: a");
    const { body } = await manage(gateway, "GET", "/services/c");
    expect(body.outOfUse).toEqual([expect.stringContaining("found c.test, which belongs to the service a")]);
  });
});
