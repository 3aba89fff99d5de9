/** Issued keys where they are not needed, with many requests, at their limits, and with deceptive JSON. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const env = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function issue(gateway: TestGateway, permissions: string[], more: object = {}) {
  const { status, body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body as { id: string; key: string };
}

describe("public service", () => {
  test("A public service is open to a key without a permission for it, as it is to anonymous callers", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env, services: { open: { baseUrl: upstream.url, access: "public" } } });
    const other = await issue(gateway, ["other:read"]);
    const elsewhere = await issue(gateway, ["open:read"], { allowIps: ["192.0.2.1"] });
    const ended = await issue(gateway, ["open:read"]);
    await manage(gateway, "DELETE", `/keys/${ended.id}`);
    for (const key of [other.key, elsewhere.key, ended.key, `${other.key}x`, MANAGEMENT_KEY, ""]) {
      const response = await fetch(`${gateway.url}/proxy/open/x`, { method: "POST", headers: { "x-api-key": key } });
      expect(response.status).toBe(200);
    }
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual([
      ...[other.id, elsewhere.id, "anonymous", "anonymous", "anonymous", "anonymous"],
    ]);
    const { body } = await manage(gateway, "POST", "/explain", {
      method: "GET",
      path: "/proxy/open/x",
      caller: other.id,
    });
    expect(body).toMatchObject({ verdict: "forward" });
  });
});

describe("request for a key", () => {
  const permissions = ["api:read"];
  const deceptive: [string, unknown][] = [
    ...["[]", "null", "1", '"x"', "true"].map((text): [string, unknown] => [text, JSON.parse(text)]),
    ...[0, true, {}, [], null, "", " ".repeat(0), "a".repeat(101), "a\u202eb", "\ud800", "a\u0000"].map(
      (name): [string, unknown] => [`name ${JSON.stringify(name)}`, { name, permissions }],
    ),
    ...[
      "api:read",
      {},
      { 0: "api:read", length: 1 },
      [["api:read"]],
      [1],
      [null],
      Array(51).fill("api:read"),
      null,
    ].map((wrong): [string, unknown] => [
      `permissions ${JSON.stringify(wrong)?.slice(0, 40)}`,
      { name: "a", permissions: wrong },
    ]),
    ...["__proto__:read", "constructor:read", "manage:*:/x", "manage:write", "*:*:x", "Api:read", "api:TRACE"].map(
      (text): [string, unknown] => [`permission ${text}`, { name: "a", permissions: [text] }],
    ),
    ...[
      0,
      "",
      "2030-13-01T00:00:00Z",
      "2030-02-30T25:00:00Z",
      "2030-01-01",
      "2030-01-01T00:00:00",
      "+275760-09-13T00:00:00Z",
    ].map((expiresAt): [string, unknown] => [`expiresAt ${expiresAt}`, { name: "a", permissions, expiresAt }]),
    ...[[], 5, { maxRequests: 1 }, { maxRequests: "1", windowMs: 1000 }, { maxRequests: 0, windowMs: 1000 }].map(
      (rateLimit): [string, unknown] => [
        `rateLimit ${JSON.stringify(rateLimit)}`,
        { name: "a", permissions, rateLimit },
      ],
    ),
    ...[
      { maxRequests: 1.5, windowMs: 1000 },
      { maxRequests: 1, windowMs: 1e12 },
      { maxRequests: 1, windowMs: 1000, per: "ip" },
    ].map((rateLimit): [string, unknown] => [
      `rateLimit ${JSON.stringify(rateLimit)}`,
      { name: "a", permissions, rateLimit },
    ]),
    ...["10.0.0.0/8", {}, ["10.0.0.0/33"], ["10.1"], ["0x7f.1"], ["::/129"], ["fe80::1%eth0"], [" 10.0.0.1"], null].map(
      (allowIps): [string, unknown] => [`allowIps ${JSON.stringify(allowIps)}`, { name: "a", permissions, allowIps }],
    ),
    ...["id", "key", "digests", "createdBy", "revokedAt", "state", "uses"].map((field): [string, unknown] => [
      `with ${field}`,
      { name: "a", permissions, [field]: "x" },
    ]),
  ];

  test("An invalid request for a key is refused and creates none, for any JSON", async () => {
    const gateway = await startGateway({ env });
    const { id } = await issue(gateway, permissions);
    const before = (await manage(gateway, "GET", `/keys/${id}`)).body;
    const sent = deceptive.flatMap(([what, body]) =>
      [["POST", "/keys"] as const, ["PATCH", `/keys/${id}`] as const].map(async ([method, path]) => {
        const { status } = await manage(gateway, method, path, body);
        return `${status} ${method} ${what}`;
      }),
    );
    expect((await Promise.all(sent)).filter((each) => !each.startsWith("400 "))).toEqual([]);
    for (const graceSeconds of [-1, 1.5, "60", null, 2_592_001, [], true]) {
      const { status } = await manage(gateway, "POST", `/keys/${id}/rotate`, { graceSeconds });
      expect(status, String(graceSeconds)).toBe(400);
    }
    expect(
      (await manage(gateway, "POST", "/keys", `{"name":"a","permissions":["api:read"],"__proto__":{}}`)).status,
    ).toBe(400);
    expect(
      (await manage(gateway, "POST", "/keys", `{"name":"a","permissions":["${"x".repeat(300_000)}"]}`)).status,
    ).toBe(413);
    const { body } = await manage(gateway, "GET", "/keys");
    expect(body.keys).toEqual([before]);
  });

  test("A key is not found by an unknown id", async () => {
    const gateway = await startGateway({ env });
    for (const id of [
      "__proto__",
      "constructor",
      "toString",
      "key_",
      "%00",
      "..%2f",
      "key_1%2frotate",
      "é",
      "x".repeat(5_000),
    ]) {
      for (const method of ["GET", "DELETE"]) {
        const { status } = await manage(gateway, method, `/keys/${id}`);
        expect([400, 404], `${method} ${id}`).toContain(status);
      }
      expect([400, 404]).toContain((await manage(gateway, "PATCH", `/keys/${id}`, { name: "x" })).status);
    }
  });
});

test("A key's limit continues to count after a rotation, together with the old key, and under concurrent requests", async () => {
  const upstream = await startUpstream();
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
  const rateLimit = { maxRequests: 5, windowMs: 60_000 };
  const { id, key } = await issue(gateway, ["api:read"], { rateLimit });
  const rotated = (await manage(gateway, "POST", `/keys/${id}/rotate`, { graceSeconds: 60 })).body.key as string;
  const ask = async (each: string, path = "/proxy/api/x") =>
    (await fetch(gateway.url + path, { headers: { authorization: `Bearer ${each}` } })).status;
  const statuses = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i % 2 === 0 ? key : rotated)));
  expect(statuses.filter((status) => status === 200)).toHaveLength(5);
  const again = (await manage(gateway, "POST", `/keys/${id}/rotate`)).body.key as string;
  await manage(gateway, "PATCH", `/keys/${id}`, { rateLimit: { windowMs: 60_000, maxRequests: 5 }, name: "same" });
  expect([await ask(again), await ask(again, "/proxy/api//x?y")]).toEqual([429, 429]);
});

test("A key's addresses are compared with the verified client address, not with a client's own headers", async () => {
  const upstream = await startUpstream();
  const services = { api: { baseUrl: upstream.url } };
  for (const [trust, expected] of [
    [{}, [403, 403, 403, 403]],
    [{ TRUST_PROXY: "127.0.0.1" }, [200, 200, 403, 403]],
  ] as const) {
    const gateway = await startGateway({ env: { ...env, ...trust }, services });
    const { key } = await issue(gateway, ["api:read"], { allowIps: ["192.0.2.0/24"] });
    const ask = async (from: string) => {
      const headers = { "x-api-key": key, "x-forwarded-for": from };
      return (await fetch(`${gateway.url}/proxy/api/x`, { headers })).status;
    };
    const from = ["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7, 198.51.100.1", "192.0.2.7;x"];
    expect(await Promise.all(from.map(ask))).toEqual(expected);
  }
});
