/** /manage refuses web pages of other sites and services with internal addresses, and shows operators what happened. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const SERVICE = { baseUrl: "https://api.example.com/" };

describe("A web page", () => {
  const foreign: Record<string, string>[] = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "http://127.0.0.1:1" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
  ];

  test.each([
    ["with a management key", { MANAGEMENT_API_KEY: MANAGEMENT_KEY }],
    ["without a management key", {}],
  ])("A web page of another site is refused on /manage, %s", async (_, env: Record<string, string>) => {
    const gateway = await startGateway({ env });
    for (const headers of foreign) {
      for (const [method, path, body] of [
        ["GET", "/services", undefined],
        ["PUT", "/services/api", SERVICE],
        ["POST", "/reload", undefined],
      ] as const) {
        const answer = await manage(gateway, method, path, body, headers);
        expect([answer.status, answer.body.code], JSON.stringify(headers)).toEqual([403, "ORIGIN_NOT_ALLOWED"]);
      }
    }
    const form = await rawRequest(
      gateway.port,
      `POST /manage/services?api_key=${MANAGEMENT_KEY} HTTP/1.1\r\nHost: 127.0.0.1:${gateway.port}\r\nOrigin: https://evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b`,
    );
    expect(form.status).toBe(403);
    expect(
      (await manage(gateway, "GET", "/services")).body.services.map(({ key }: { key: string }) => key),
    ).not.toContain("api");
  });

  test("/manage serves pages of a listed origin and of the gateway, and never accepts a cookie", async () => {
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, CORS_ORIGINS: "https://ops.example" };
    const gateway = await startGateway({ env });
    const { host } = new URL(gateway.url);
    for (const origin of ["https://ops.example", `http://${host}`, `https://${host}`]) {
      expect((await manage(gateway, "GET", "/services", undefined, { origin })).status, origin).toBe(200);
    }
    expect((await manage(gateway, "GET", "/services", undefined, { "sec-fetch-site": "same-origin" })).status).toBe(
      200,
    );
    const cookies = { cookie: `x-api-key=${MANAGEMENT_KEY}; api_key=${MANAGEMENT_KEY}`, "x-api-key": "" };
    expect((await manage(gateway, "GET", "/services", undefined, cookies)).status).toBe(401);
    expect((await manage(gateway, "GET", "/services", undefined, { "x-api-key": PROXY_KEY })).status).toBe(401);
  });

  test("A web page is refused on /manage even if every origin may call upstreams", async () => {
    for (const env of [
      { CORS_ORIGINS: "*" },
      { CORS_ORIGINS: "*", MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      { CORS_ORIGINS: "null" },
    ]) {
      const gateway = await startGateway({ env: env as Record<string, string> });
      for (const origin of ["https://evil.example", "null"]) {
        const answer = await manage(gateway, "PUT", "/services/api", SERVICE, {
          origin,
          "sec-fetch-site": "cross-site",
        });
        expect([answer.status, answer.body.code], JSON.stringify(env)).toEqual([403, "ORIGIN_NOT_ALLOWED"]);
      }
    }
  });

  test("A foreign host name that resolves to this machine is refused while there is no key", async () => {
    const gateway = await startGateway();
    const answer = await rawRequest(
      gateway.port,
      "GET /manage/services HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([403, "HOST_NOT_ALLOWED"]);
  });
});

describe("A service added over REST", () => {
  test("A service added over REST may not have an internal address, in any spelling, unless the operator allows it", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    const hosts = [
      ...["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "１２７.0.0.1", "0.0.0.0", "0"],
      ...["localhost", "LOCALHOST", "x.localhost", "localhost.", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"],
      ...[
        "169.254.169.254",
        "192.0.0.8",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
      ],
      ...["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]"],
      ...["[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]"],
    ];
    for (const host of hosts) {
      for (const config of [
        { baseUrl: `http://${host}/` },
        { baseUrl: "https://api.example.com/", versionedBaseUrls: { v1: `http://${host}/` } },
      ]) {
        const answer = await manage(gateway, "PUT", "/services/api", config);
        expect([answer.status, answer.body.code], host).toEqual([403, "EGRESS_NOT_ALLOWED"]);
      }
    }
    expect((await manage(gateway, "PUT", "/services/api", SERVICE)).status).toBe(201);
    expect((await manage(gateway, "PATCH", "/services/api", { baseUrl: "http://127.0.0.1/" })).status).toBe(403);
  });

  test("A service added over REST may never have the address of a metadata service or of the gateway", async () => {
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", MANAGEMENT_PORT: "0" };
    const gateway = await startGateway({ env });
    const operators = { url: gateway.managementUrl as string };
    const managementPort = new URL(operators.url).port;
    for (const host of [
      ...[
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        `127.0.0.1:${gateway.port}`,
      ],
      ...[
        `localhost:${gateway.port}`,
        `[::ffff:127.0.0.1]:${gateway.port}`,
        `127.0.0.1:${managementPort}`,
        `0.0.0.0:${gateway.port}`,
      ],
    ]) {
      const answer = await manage(operators, "PUT", "/services/api", { baseUrl: `http://${host}/` });
      expect([answer.status, answer.body.code], host).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    }
    expect((await manage(operators, "PUT", "/services/api", { baseUrl: "http://127.0.0.1:9/" })).status).toBe(201);
  });

  test("An override of a service with a private address in the file follows the rules for services added over REST", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url } },
    });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
    const answer = await manage(gateway, "PATCH", "/services/api", { retries: 1 });
    expect([answer.status, answer.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
  });
});

describe("/manage/audit", () => {
  test("The audit lists who changed what, newest first, with secrets masked; each entry is also a line of the log", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", TOKEN: "the-upstream-secret-0123" },
      services: { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "TOKEN" } } },
    });
    const setHeaders = { "X-Api-Secret": "hidden-in-a-header", "User-Agent": "the-upstream-secret-0123 by mistake" };
    await manage(
      gateway,
      "POST",
      "/services",
      { key: "new", config: { baseUrl: upstream.url, setHeaders } },
      { "x-request-id": "first" },
    );
    await manage(gateway, "PATCH", "/services/new", { retries: 1 });
    await manage(gateway, "PATCH", "/services/new", { retries: -1 });
    await manage(gateway, "POST", "/services/api/rate-limit/reset");
    await manage(gateway, "POST", "/reload");
    await manage(gateway, "DELETE", "/services/new");
    const { body } = await manage(gateway, "GET", "/audit");
    expect(body.count).toBe(5);
    expect(body.entries.map(({ action }: { action: string }) => action)).toEqual([
      "service.delete",
      "reload",
      "rate-limit.reset",
      "service.patch",
      "service.create",
    ]);
    const masked = { baseUrl: upstream.url, setHeaders: { "X-Api-Secret": "***", "User-Agent": "*** by mistake" } };
    expect(body.entries.at(-1)).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      ...{
        action: "service.create",
        subject: "new",
        caller: "management-key",
        address: "127.0.0.1",
        requestId: "first",
      },
      after: masked,
    });
    expect(body.entries[3]).toMatchObject({ before: masked, after: { ...masked, retries: 1 } });
    expect(body.entries[0]).toMatchObject({ subject: "new", before: { retries: 1 } });
    expect(body.entries[0]).not.toHaveProperty("after");
    const lines = gateway.lines().filter(({ msg }) => String(msg).startsWith("audit: "));
    expect(lines).toHaveLength(5);
    expect(gateway.logText()).not.toContain("hidden-in-a-header");
    expect(gateway.logText()).not.toContain("the-upstream-secret");
    expect((await manage(gateway, "GET", "/audit?limit=2")).body.entries).toEqual(body.entries.slice(0, 2));
    for (const limit of ["0", "-1", "x", "1e3"]) {
      expect((await manage(gateway, "GET", `/audit?limit=${limit}`)).body.code, limit).toBe("VALIDATION_ERROR");
    }
  });
});

test("The audit stores the size of a large configuration, not the configuration", async () => {
  const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
  const versions = Array.from({ length: 64 }, (_, i) => [`v${i}`, `${SERVICE.baseUrl}${"m".repeat(1_500)}`]);
  const large = { ...SERVICE, versionedBaseUrls: Object.fromEntries(versions) };
  await manage(gateway, "PUT", "/services/api", large);
  await manage(gateway, "PUT", "/services/api", SERVICE);
  const { entries } = (await manage(gateway, "GET", "/audit")).body;
  expect(entries[0]).toMatchObject({
    before: { omitted: expect.stringMatching(/^\d{5,6} characters$/) },
    after: SERVICE,
  });
});

describe("/manage/key-debug", () => {
  test("The response says which keys were presented, where, and which plane they open, and contains no part of a key", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY } });
    const answer = await manage(gateway, "GET", `/key-debug?api_key=${PROXY_KEY.slice(0, -1)}`, undefined, {
      authorization: `Bearer ${PROXY_KEY}`,
    });
    expect(answer.status).toBe(200);
    const { keys, presented } = answer.body;
    const fingerprint = expect.stringMatching(/^[0-9a-f]{8}$/);
    expect(keys).toEqual({
      proxy: { configured: true, protected: true, fingerprint },
      management: { configured: true, protected: true, fingerprint },
      issued: { configured: false, proxy: 0, management: 0 },
      tokens: { configured: false },
    });
    expect(presented).toEqual([
      {
        ...{ where: "Authorization", issued: null, token: null },
        ...{ fingerprint: keys.proxy.fingerprint, length: PROXY_KEY.length, matches: "proxy" },
      },
      {
        ...{ where: "x-api-key", issued: null, token: null },
        fingerprint: keys.management.fingerprint,
        length: MANAGEMENT_KEY.length,
        matches: "management",
      },
      { where: "api_key", issued: null, token: null, fingerprint, length: PROXY_KEY.length - 1, matches: null },
    ]);
    expect(presented[2].fingerprint).not.toBe(keys.proxy.fingerprint);
    expect(JSON.stringify(answer.body)).not.toMatch(/0123456789/);
    expect((await fetch(`${gateway.url}/manage/key-debug`)).status).toBe(401);
    // Another installation computes other fingerprints.
    const other = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY } });
    expect((await manage(other, "GET", "/key-debug")).body.keys.proxy.fingerprint).not.toBe(keys.proxy.fingerprint);
  });

  test("/manage/key-debug cannot be used to guess a credential or a masked value", async () => {
    const guess = "hunter2-hunter2-hunter2";
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: guess };
    const services = {
      api: { baseUrl: "https://api.example.com/", auth: { type: "bearer", tokenEnvVar: "TOKEN" } },
    } as const;
    const gateway = await startGateway({ env, services });
    const item = await manage(gateway, "GET", "/services/api");
    const many = Array.from({ length: 50 }, () => `api_key=${guess}`).join("&");
    const { presented } = (await manage(gateway, "GET", `/key-debug?${many}`)).body;
    const guesses = presented.filter(({ where }: { where: string }) => where === "api_key");
    expect(guesses).toHaveLength(3);
    expect(guesses[0].fingerprint).not.toBe(item.body.credential.fingerprint);
    const state = JSON.stringify(["api", "file", 0, item.body.config]);
    const asKey = (await manage(gateway, "GET", `/key-debug?api_key=${encodeURIComponent(state)}`)).body.presented.at(
      -1,
    );
    expect(item.headers.get("etag")).not.toContain(asKey.fingerprint);
  });

  test("The response says that a plane has no key", async () => {
    const gateway = await startGateway();
    expect((await manage(gateway, "GET", "/key-debug", undefined, { "x-api-key": "" })).body).toMatchObject({
      keys: { management: { configured: false, protected: false, fingerprint: null } },
    });
  });
});

test("Without a management key no web page may change the gateway, not even one of its own origin, unless it is listed", async () => {
  const gateway = await startGateway({ env: { CORS_ORIGINS: "https://ops.example" } });
  const own = new URL(gateway.url).origin;
  const put = (headers: Record<string, string>) => manage(gateway, "PUT", "/services/api", SERVICE, headers);
  for (const headers of [
    { origin: own, "sec-fetch-site": "same-origin" },
    { origin: own },
    { "sec-fetch-site": "same-origin" },
  ] as Record<string, string>[]) {
    const { status, body } = await put(headers);
    expect([status, body.code], JSON.stringify(headers)).toEqual([403, "ORIGIN_NOT_ALLOWED"]);
    expect(body.hint).toContain("MANAGEMENT_API_KEY");
    expect((await manage(gateway, "GET", "/services", undefined, headers)).status).toBe(200);
    expect((await fetch(`${gateway.url}/manage/services`, { method: "HEAD", headers })).status).toBe(200);
  }
  expect((await put({ origin: "https://ops.example" })).status).toBeLessThan(300);
  expect((await put({})).status).toBeLessThan(300);
});
