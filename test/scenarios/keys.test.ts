/** The caller's key: where it may be, which one decides, and that no copy of it is ever forwarded. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function start(service: Record<string, unknown> = {}, env: Record<string, string> = KEYS) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, ...service } } });
  const ask = (target: string, headers = "") =>
    rawRequest(gateway.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}Connection: close\r\n\r\n`);
  return { upstream, gateway, ask };
}

describe("key", () => {
  test.each([
    ["Authorization: Bearer", "/proxy/api/", `Authorization: Bearer ${PROXY_KEY}\r\n`],
    ["Authorization in any case and spacing", "/proxy/api/", `AUTHORIZATION:   bEARER   ${PROXY_KEY}  \r\n`],
    ["Authorization: token, as GitHub's SDK writes it", "/proxy/api/", `Authorization: token ${PROXY_KEY}\r\n`],
    ["Authorization: Bot, as Discord's SDK writes it", "/proxy/api/", `Authorization: Bot ${PROXY_KEY}\r\n`],
    ["x-api-key", "/proxy/api/", `X-Api-Key: ${PROXY_KEY}\r\n`],
    ["?api_key=", `/proxy/api/?api_key=${PROXY_KEY}`, ""],
    ["?%61pi_key=", `/proxy/api/?a=1&%61pi_key=${PROXY_KEY}`, ""],
    [
      "a wrong bearer token and a valid x-api-key",
      "/proxy/api/",
      `Authorization: Bearer wrong\r\nx-api-key: ${PROXY_KEY}\r\n`,
    ],
    ["a wrong header and a valid parameter", `/proxy/api/?api_key=${PROXY_KEY}`, "x-api-key: wrong\r\n"],
    ["a wrong and a valid one in the same place", "/proxy/api/", `x-api-key: wrong\r\nx-api-key: ${PROXY_KEY}\r\n`],
  ])("A key is accepted as %s, and no byte of it reaches the upstream", async (_, target, headers) => {
    const { upstream, ask } = await start();
    expect((await ask(target, headers)).status).toBe(200);
    expect(upstream.received).toHaveLength(1);
    expect(upstream.received[0]).not.toContain(PROXY_KEY);
    expect(upstream.received[0]).not.toMatch(/x-api-key|api_key/i);
  });

  test("A key is removed from every other place: Cookie, Referer, Basic, header variants, other slots, with and without cookies", async () => {
    for (const cookies of [true, false]) {
      const { upstream, ask } = await start({ cookies });
      const basic = Buffer.from(`${PROXY_KEY}:x`).toString("base64");
      const everywhere = [
        `x-api-key: ${PROXY_KEY}`,
        `Authorization: Bearer ${PROXY_KEY}`,
        `Authorization: Basic ${basic}`,
        `Authorization: ${PROXY_KEY}`,
        `Authorization: Custom ${MANAGEMENT_KEY}`,
        `X_Api_Key: ${PROXY_KEY}`,
        `X-Api_Key: ${PROXY_KEY}`,
        `Authorization_: Bearer ${PROXY_KEY}`,
        `_Authorization: Bearer ${PROXY_KEY}`,
        `Cookie: a=1; key=${PROXY_KEY}`,
        `Cookie: key="${MANAGEMENT_KEY}"`,
        `Referer: http://localhost/?api_key=${PROXY_KEY}`,
        `Origin: http://${PROXY_KEY}`,
        `X-Forwarded-For: ${PROXY_KEY}`,
        `Proxy-Authorization: Bearer ${PROXY_KEY}`,
      ].join("\r\n");
      const target = `/proxy/api/x?api_key=${PROXY_KEY}&a=%2F&api%5Fkey=${PROXY_KEY}&b=+`;
      expect((await ask(target, `${everywhere}\r\n`)).status).toBe(200);
      expect(upstream.received[0]).not.toContain(PROXY_KEY);
      expect(upstream.received[0]).not.toContain(MANAGEMENT_KEY);
      expect(upstream.received[0]).not.toContain(basic);
      expect(upstream.received[0]).toMatch(/^GET \/x\?a=%2F&b=\+ HTTP/);
    }
  });

  test("A key is never used as a request id", async () => {
    const { upstream, ask } = await start();
    for (const key of [PROXY_KEY, MANAGEMENT_KEY]) {
      const response = await ask("/proxy/api/", `x-api-key: ${PROXY_KEY}\r\nX-Request-Id: ${key}\r\n`);
      expect(response.text + upstream.received.join("")).not.toContain(key);
    }
  });

  test("Removing a key leaves the rest of the query unchanged in order and encoding", async () => {
    const { upstream, ask } = await start();
    await ask(`/proxy/api/?z=%2f%2F&api_key=${PROXY_KEY}&a=1&a=2&=&&b=%zz&api_keys=1&c`);
    expect(upstream.received[0]).toMatch(/^GET \/\?z=%2f%2F&a=1&a=2&=&&b=%zz&api_keys=1&c HTTP/);
  });
});

describe("request without a valid key", () => {
  test.each([
    ["nothing", "/proxy/api/", "", "MISSING_CREDENTIALS", /needs the proxy key \(PROXY_API_KEY\)/],
    [
      "another scheme",
      "/proxy/api/",
      "Authorization: Basic eDp5\r\n",
      "MISSING_CREDENTIALS",
      /does not have the form `Bearer <key>`/,
    ],
    ["a wrong key", "/proxy/api/", "x-api-key: wrong\r\n", "INVALID_API_KEY", /not valid/],
    ["a key cut short", "/proxy/api/", `x-api-key: ${PROXY_KEY.slice(0, -1)}\r\n`, "INVALID_API_KEY", /not valid/],
    ["a key with more", "/proxy/api/", `x-api-key: ${PROXY_KEY}x\r\n`, "INVALID_API_KEY", /not valid/],
    ["an empty parameter", "/proxy/api/?api_key=", "", "MISSING_CREDENTIALS", /The parameter api_key is empty\./],
    ["an empty x-api-key", "/proxy/api/", "x-api-key:\r\n", "MISSING_CREDENTIALS", /The x-api-key header is empty\./],
    [
      "an empty bearer",
      "/proxy/api/",
      "Authorization: Bearer \r\n",
      "MISSING_CREDENTIALS",
      /has a scheme, but no key after it\./,
    ],
    [
      "empty keys before a wrong one",
      "/proxy/api/?api_key=&api_key=x",
      "x-api-key: \r\n",
      "INVALID_API_KEY",
      /not valid/,
    ],
    ["an empty key at /manage", "/manage/services?api_key=", "x-api-key:\r\n", "MISSING_CREDENTIALS", /management key/],
    [
      "the management key",
      "/proxy/api/",
      `x-api-key: ${MANAGEMENT_KEY}\r\n`,
      "INVALID_API_KEY",
      /is the management key/,
    ],
    [
      "the proxy key at /manage",
      "/manage/services",
      `x-api-key: ${PROXY_KEY}\r\n`,
      "INVALID_API_KEY",
      /needs the management key.*is the proxy key/,
    ],
    ["nothing at /proxy/services", "/proxy/services", "", "MISSING_CREDENTIALS", /proxy key/],
    ["nothing at /proxy/auth-test", "/proxy/auth-test", "", "MISSING_CREDENTIALS", /proxy key/],
    ["nothing at an unknown service", "/proxy/nope/", "", "MISSING_CREDENTIALS", /proxy key/],
    ["nothing at a bad path", "/proxy/api/../x", "", "MISSING_CREDENTIALS", /proxy key/],
    ["nothing at an unknown route of /manage", "/manage/x", "", "MISSING_CREDENTIALS", /management key/],
  ])(
    "With %s the response is a 401 that says what to send, and nothing is forwarded",
    async (_, target, headers, code, message) => {
      const { upstream, ask } = await start();
      const response = await ask(target, headers);
      expect(response.status).toBe(401);
      expect(response.head).toMatch(/^WWW-Authenticate: Bearer(,|\r?$)/im);
      const body = JSON.parse(response.body) as Record<string, string>;
      expect(body.code).toBe(code);
      expect(body.message).toMatch(message);
      expect(body).not.toHaveProperty("availableServices");
      expect(response.text).not.toContain(PROXY_KEY.slice(0, 10));
      expect(upstream.received).toEqual([]);
    },
  );

  test("Empty keys are removed where another key is valid or none is needed", async () => {
    const { upstream, ask } = await start();
    const empty = "x-api-key:\r\nX_Api_Key:\r\n";
    expect((await ask("/proxy/api/?a=1&api_key=", `${empty}Authorization: Bearer ${PROXY_KEY}\r\n`)).status).toBe(200);
    expect(upstream.received[0]).toMatch(/^GET \/\?a=1 HTTP/);
    expect(upstream.received[0]).not.toMatch(/api.key/i);
  });

  test("A key of another length never throws", async () => {
    const { ask } = await start();
    for (const key of ["x", "x".repeat(5_000), "\xff\xfe", "%"]) {
      expect((await ask("/proxy/api/", `x-api-key: ${key}\r\n`)).status).toBe(401);
    }
  });
});

describe("caller's own Authorization", () => {
  test("The caller's Authorization is forwarded when the service has no credential and it contains no gateway key", async () => {
    const { upstream, ask } = await start();
    await ask("/proxy/api/", `x-api-key: ${PROXY_KEY}\r\nAuthorization: Bearer the-callers-own\r\n`);
    expect(upstream.received[0]).toMatch(/^Authorization: Bearer the-callers-own\r$/m);
  });

  test("The caller's Authorization is never forwarded next to an injected credential, in any case, twice, or as a variant", async () => {
    const env = { ...KEYS, TOKEN: "the-real-one" };
    for (const [place, query, twins] of [
      [{ headerName: "X-Token" }, "", "X-Token: own\r\nX_Token: own\r\n"],
      [{ queryParam: "token" }, "?token=own&%74oken=own", ""],
    ] as const) {
      const { upstream, ask } = await start({ auth: { type: "api-key", ...place, tokenEnvVar: "TOKEN" } }, env);
      const own = "authorization: Bearer own\r\nAUTHORIZATION: Basic own\r\nAuthorization_: own\r\n";
      await ask(`/proxy/api/${query}`, `x-api-key: ${PROXY_KEY}\r\n${twins}${own}`);
      expect(upstream.received[0]).not.toContain("own");
      expect(upstream.received[0]?.match(/the-real-one/g)).toHaveLength(1);
    }
  });
});

test("A plane that is open on purpose accepts requests without a key, and still removes what looks like one", async () => {
  const { upstream, ask } = await start({}, { ...KEYS, REQUIRE_AUTH_FOR_PROXY: "false" });
  expect((await ask(`/proxy/api/?api_key=${PROXY_KEY}`, `x-api-key: ${MANAGEMENT_KEY}\r\n`)).status).toBe(200);
  expect(upstream.received[0]).toMatch(/^GET \/ HTTP/);
  expect(upstream.received[0]).not.toContain(MANAGEMENT_KEY);
});

describe("public service", () => {
  test("A public service needs no key, identifies callers with one, and forwards no key", async () => {
    const { upstream, gateway, ask } = await start({ access: "public" });
    for (const headers of ["", "x-api-key: wrong-key-0123456789\r\n", `x-api-key: ${PROXY_KEY}\r\n`]) {
      expect((await ask("/proxy/api/x", headers)).status).toBe(200);
    }
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual(["anonymous", "anonymous", "proxy-key"]);
    expect(upstream.received.join()).not.toMatch(/x-api-key/i);
  });

  test("A public service opens nothing else: not the list, no other service, no unknown name", async () => {
    const { ask } = await start({ access: "public" });
    for (const target of ["/proxy/services", "/proxy/echo/x", "/proxy/nothing/x", "/manage/services"]) {
      expect((await ask(target)).status, target).toBe(401);
    }
  });

  test("Explain shows that a service is public", async () => {
    const { gateway } = await start({ access: "public" });
    const explain = async (request: object) => (await manage(gateway, "POST", "/explain", request)).body;
    const request = { method: "GET", path: "/proxy/api/x" };
    expect(await explain(request)).toMatchObject({ verdict: "forward", request: { caller: "anonymous" } });
    expect(await explain({ ...request, caller: "anonymous" })).toMatchObject({ verdict: "forward" });
    expect(await explain({ ...request, caller: "proxy-key" })).toMatchObject({ request: { caller: "proxy-key" } });
  });
});
