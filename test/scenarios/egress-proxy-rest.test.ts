/** Egress proxies and services that were added over REST: which proxy such a service may name, and what the proxy gets. */
import type { LookupAddress } from "node:dns";
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { type ProxyUse, readProxy } from "../../src/config/egress-proxy.ts";
import { createDial } from "../../src/data-plane/forward/egress.ts";
import { startConnectProxy } from "../support/connect-proxy.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "upstream-secret-0123456789";
const auth = { type: "bearer", tokenEnvVar: "API_TOKEN" } as const;
const PROXY = "http://proxy.example:3128";

describe("a service with a credential", () => {
  test("Its proxy over REST must be that of the services file, with the setting to add in the hint", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        API_TOKEN: SECRET,
        LISTED: SECRET,
        REST_SECRETS: `LISTED@${upstream.url}`,
        EGRESS_ALLOW_PRIVATE: "true",
      },
      services: {
        bare: { baseUrl: upstream.url, auth },
        proxied: { baseUrl: "https://api.example/", auth, egressProxy: PROXY },
        direct: { baseUrl: "https://direct.example/", auth, egressProxy: false },
      },
    });
    const refused: [string, string, object, RegExp][] = [
      [
        "PATCH",
        "bare",
        { egressProxy: PROXY },
        /^Remove egressProxy, or add it .*: "egressProxy": "http:\/\/proxy\.example:3128"\.$/,
      ],
      ["PATCH", "bare", { egressProxy: false }, /: "egressProxy": false\.$/],
      ["PATCH", "proxied", { egressProxy: null }, /^Keep egressProxy as in the services file/],
      ["PATCH", "proxied", { egressProxy: false }, /^Keep egressProxy/],
      ["PATCH", "proxied", { egressProxy: "http://other.example:3128" }, /^Keep egressProxy/],
      ["PATCH", "direct", { egressProxy: null }, /^Keep egressProxy/],
      ["PUT", "new", { baseUrl: upstream.url, auth, egressProxy: PROXY }, /^Remove egressProxy/],
      [
        "PUT",
        "new",
        { baseUrl: upstream.url, auth: { ...auth, tokenEnvVar: "LISTED" }, egressProxy: PROXY },
        /^Remove/,
      ],
    ];
    for (const [method, key, body, hint] of refused) {
      const answer = await manage(gateway, method, `/services/${key}`, body);
      expect([answer.status, answer.body.code], `${key} ${JSON.stringify(body)}`).toEqual([403, "EGRESS_NOT_ALLOWED"]);
      expect(answer.body.hint).toMatch(hint);
    }
    const kept = await manage(gateway, "PATCH", "/services/proxied", { name: "renamed", egressProxy: `${PROXY}/` });
    expect([kept.status, kept.body.credential?.state ?? kept.body]).toEqual([200, "present"]);
  });

  test("Hidden header values and hidden parts of a base URL are not sent through another proxy than before", async () => {
    const secretPath = "hooks/T0123456789/B0123456789/abcdefghijklmnopqrstuvwx";
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: {
        literal: { baseUrl: "http://api.example/", setHeaders: { "X-Literal-Token": SECRET } },
        hook: { baseUrl: `http://hooks.slack.com/${secretPath.replace("hooks", "services")}` },
      },
    });
    for (const key of ["literal", "hook"]) {
      const before = await manage(gateway, "GET", `/services/${key}`);
      expect(JSON.stringify(before.body.config)).toContain("***");
      for (const change of [{ egressProxy: "http://93.184.216.34:3128" }, { egressProxy: false }]) {
        const answer = await manage(gateway, "PATCH", `/services/${key}`, change);
        expect([answer.status, answer.body.code], key).toEqual([403, "EGRESS_NOT_ALLOWED"]);
      }
      expect((await manage(gateway, "PATCH", `/services/${key}`, { name: "same way" })).status).toBe(200);
    }
  });
});

describe("a service without a credential", () => {
  test.each([
    ["http://10.1.2.3:3128", /private/],
    ["http://127.0.0.1:3128", /loopback/],
    ["http://169.254.169.254", /link-local/],
    ["http://[fd00:ec2::254]:80", /metadata/],
  ])("Over REST it may not name the proxy %s", async (egressProxy, words) => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    const config = { baseUrl: "https://93.184.216.34/", egressProxy };
    const answer = await manage(gateway, "POST", "/services", { key: "api", config });
    expect([answer.status, answer.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    expect(answer.body.message).toMatch(words);
  });

  test("Over REST it may name the proxy of EGRESS_PROXY, which gets the checked address instead of a name", async () => {
    const upstream = await startUpstream();
    const proxy = await startConnectProxy({ credential: "user:password" });
    const gateway = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        EGRESS_ALLOW_PRIVATE: "true",
        EGRESS_PROXY: `http://user:password@127.0.0.1:${proxy.port}`,
      },
    });
    const config = { baseUrl: `http://localhost:${upstream.port}/`, egressProxy: proxy.url };
    expect((await manage(gateway, "POST", "/services", { key: "api", config })).status).toBe(201);
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    expect(proxy.requests.at(-1)?.line).toMatch(/^CONNECT (?:127\.0\.0\.1|\[::1\]):\d+ HTTP\/1\.1$/);
    expect(upstream.requests[0]?.headers.host).toBe(`localhost:${upstream.port}`);
    const url = {
      baseUrl: `http://localhost:${upstream.port}/`,
      egressProxy: proxy.url.replace("//", "//user:password@"),
    };
    const answer = await manage(gateway, "PUT", "/services/api", url);
    expect(answer.status).toBe(400);
    expect(JSON.stringify(answer.body)).not.toContain("password@");
  });
});

describe("names that are resolved here", () => {
  const found = (...addresses: string[]): LookupAddress[] =>
    addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));

  /** Dials `api.example` through the proxy. */
  async function dialThrough(
    url: string,
    addresses: readonly string[],
    { resolvesHere = true, isOperators = true } = {},
  ) {
    const use: ProxyUse = {
      proxy: readProxy(url) as ProxyUse["proxy"],
      noProxy: undefined,
      isOperators,
      resolvesHere,
      isTlsStrict: true,
    };
    const asked: string[] = [];
    const dial = createDial({
      service: { connectTimeoutMs: 2_000, tls: {} },
      pem: {},
      isTlsStrict: true,
      proxyUse: use,
      egress: {
        allowsPrivate: false,
        ownListeners: () => [],
        resolve: (name, _, callback) => {
          asked.push(name);
          callback(null, found(...addresses));
        },
      },
    });
    const target = { hostname: "api.example", host: "api.example", protocol: "http:", port: "" };
    const outcome = await new Promise<Error | Socket | null>((resolve) =>
      dial(target, (error, socket) => resolve(error ?? socket)),
    );
    if (!(outcome instanceof Error)) outcome?.destroy();
    return { outcome, asked };
  }

  test("A name that leads to an address which is not public is refused before the proxy is asked", async () => {
    const proxy = await startConnectProxy();
    for (const address of ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.0.0.1"]) {
      const { outcome } = await dialThrough(proxy.url, [address]);
      expect(outcome, address).toMatchObject({ code: "EGRESS_NOT_ALLOWED" });
    }
    expect(proxy.requests).toEqual([]);
  });

  test("The proxy gets the allowed addresses one after the other until it reaches one", async () => {
    const proxy = await startConnectProxy();
    proxy.answer = (socket, { line }) =>
      void socket.end(line.includes("93.184.216.34") ? "HTTP/1.1 200 OK\r\n\r\n" : "HTTP/1.1 503 No\r\n\r\n");
    const { outcome } = await dialThrough(proxy.url, ["2606:2800:220:1::1", "10.0.0.1", "93.184.216.34"]);
    expect(outcome).not.toBeInstanceOf(Error);
    expect(proxy.requests.map(({ line }) => line)).toEqual([
      "CONNECT [2606:2800:220:1::1]:80 HTTP/1.1",
      "CONNECT 93.184.216.34:80 HTTP/1.1",
    ]);
  });

  test("A name for the services file's own services is not resolved here", async () => {
    const proxy = await startConnectProxy();
    proxy.answer = (socket) => void socket.write("HTTP/1.1 200 OK\r\n\r\n");
    const { asked } = await dialThrough(proxy.url, [], { resolvesHere: false });
    expect(asked).toEqual([]);
    expect(proxy.requests[0]?.line).toBe("CONNECT api.example:80 HTTP/1.1");
  });

  test("The address of the proxy itself is checked when it is connected to", async () => {
    const proxy = await startConnectProxy();
    const named = `http://proxy.example:${proxy.port}`;
    const ofRest = await dialThrough(named, ["127.0.0.1"], { resolvesHere: false, isOperators: false });
    expect(ofRest.outcome).toMatchObject({
      code: "EGRESS_NOT_ALLOWED",
      message: "the address of its egress proxy is loopback",
    });
    const metadata = await dialThrough(named, ["169.254.169.254"], { resolvesHere: false });
    expect(metadata.outcome).toMatchObject({ code: "EGRESS_NOT_ALLOWED" });
    const literal = await dialThrough("http://[fd00:ec2::254]", [], { resolvesHere: false });
    expect(literal.outcome).toMatchObject({ code: "EGRESS_NOT_ALLOWED" });
    expect(proxy.requests).toEqual([]);
    await dialThrough(named, ["127.0.0.1"], { resolvesHere: false });
    expect(proxy.requests).toHaveLength(1);
  });
});
