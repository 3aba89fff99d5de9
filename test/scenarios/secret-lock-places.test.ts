/** Over REST each secret of a credential stays in the place, and in the template, in which the services file sends it. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-upstream-secret-0123456789";
const secrets = { t: { envVar: "TOKEN" } };
const custom = (more: object) => ({ type: "custom", secrets, ...more });

const BOUND = {
  header: custom({ headers: { "X-Key": "Token {t}" } }),
  query: custom({ query: { key: "{t}" } }),
  path: custom({ path: "/bot{t}" }),
  form: custom({ form: { token: "{t}" } }),
  subprotocol: custom({ subprotocol: "key.{t}" }),
  scheme: { type: "api-key", headerName: "X-Key", scheme: "Token", tokenEnvVar: "TOKEN" },
  basic: { type: "basic", username: "me", tokenEnvVar: "TOKEN" },
  pair: { type: "basic", usernameEnvVar: "USER_NAME", tokenEnvVar: "TOKEN" },
  two: { type: "custom", secrets: { a: { envVar: "TOKEN" }, b: { envVar: "OTHER" } }, headers: { A: "{a}:{b}" } },
} as const;

async function start(bound: object, env: Record<string, string> = {}) {
  const owner = await startUpstream();
  const gateway = await startGateway({
    env: {
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      TOKEN: SECRET,
      OTHER: `${SECRET}-2`,
      USER_NAME: "user-name-0123",
      ...env,
    },
    services: { api: { baseUrl: `${owner.url}/base/`, auth: bound as never } },
  });
  const put = (auth: unknown, baseUrl = `${owner.url}/base/`) =>
    manage(gateway, "PUT", "/services/mine", { baseUrl, auth });
  return { owner, gateway, put };
}

type Place = keyof typeof BOUND;

const TRICKS: readonly (readonly [place: Place, trick: string, auth: object])[] = [
  ["header", "another header", custom({ headers: { "X-Other": "Token {t}" } })],
  ["header", "another template", custom({ headers: { "X-Key": "Bearer {t}" } })],
  ["header", "text after the secret", custom({ headers: { "X-Key": "Token {t};" } })],
  ["header", "no scheme", custom({ headers: { "X-Key": "{t}" } })],
  ["header", "base64", custom({ headers: { "X-Key": "Token {t|base64}" } })],
  ["header", "a second place", custom({ headers: { "X-Key": "Token {t}" }, query: { q: "{t}" } })],
  ["header", "a second header", custom({ headers: { "X-Key": "Token {t}", "X-Echo": "Token {t}" } })],
  [
    "header",
    "a second name for the secret",
    {
      type: "custom",
      secrets: { ...secrets, u: { envVar: "TOKEN" } },
      headers: { "X-Key": "Token {t}", "X-Echo": "{u}" },
    },
  ],
  ["header", "another type with the same header", BOUND.scheme],
  ["query", "another parameter", custom({ query: { q: "{t}" } })],
  ["query", "another case of the parameter", custom({ query: { Key: "{t}" } })],
  ["query", "the type api-key", { type: "api-key", queryParam: "key", tokenEnvVar: "TOKEN" }],
  ["path", "another path", custom({ path: "/echo/{t}" })],
  ["path", "a longer path", custom({ path: "/bot{t}/x" })],
  ["path", "a second template", custom({ path: ["/bot{t}", "/file/bot{t}"] })],
  ["path", "a field", custom({ form: { bot: "{t}" } })],
  ["form", "another field", custom({ form: { q: "{t}" } })],
  ["form", "a parameter of that name", custom({ query: { token: "{t}" } })],
  ["subprotocol", "another text", custom({ subprotocol: "echo.{t}" })],
  ["subprotocol", "base64", custom({ subprotocol: "key.{t|base64}" })],
  ["scheme", "another scheme", { ...BOUND.scheme, scheme: "Bearer" }],
  ["scheme", "no scheme", { type: "api-key", headerName: "X-Key", tokenEnvVar: "TOKEN" }],
  ["scheme", "custom with the same header", BOUND.header],
  ["basic", "another user name", { ...BOUND.basic, username: "you" }],
  ["basic", "no user name", { type: "basic", tokenEnvVar: "TOKEN" }],
  ["basic", "a user name from a variable", BOUND.pair],
  ["pair", "another variable", { ...BOUND.pair, usernameEnvVar: "OTHER" }],
  ["pair", "the two exchanged", { type: "basic", usernameEnvVar: "TOKEN", tokenEnvVar: "USER_NAME" }],
  ["two", "one of two", { type: "custom", secrets: { a: { envVar: "TOKEN" } }, headers: { A: "{a}:" } }],
  ["two", "the two exchanged", { ...BOUND.two, secrets: { b: { envVar: "TOKEN" }, a: { envVar: "OTHER" } } }],
  ["two", "another beside it", { ...BOUND.two, secrets: { a: { envVar: "TOKEN" }, b: { envVar: "USER_NAME" } } }],
];

describe("A secret of the services file", () => {
  test.each(TRICKS)("bound to the place %s is refused with %s", async (place, _, auth) => {
    const { gateway, put } = await start(BOUND[place]);
    const { baseUrl } = (await manage(gateway, "GET", "/services/api")).body.config;
    for (const answer of [await put(auth), await manage(gateway, "PUT", "/services/api", { baseUrl, auth })]) {
      expect([answer.status, answer.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
      expect(answer.body.hint).toMatch(/REST_SECRETS/);
      expect(JSON.stringify(answer.body)).not.toContain(SECRET);
    }
  });

  test.each(Object.keys(BOUND) as Place[])("may be used in the place %s of the same origin", async (place) => {
    const { owner, put } = await start(BOUND[place]);
    expect((await put(BOUND[place])).status).toBe(201);
    expect((await put(BOUND[place], "http://127.0.0.1:9/base/")).status).toBe(403);
    // What comes before the secret in a path is a part of its place.
    expect((await put(BOUND[place], `${owner.url}/elsewhere/`)).status).toBe(place === "path" ? 403 : 200);
  });

  test("may have another name and a header in another case", async () => {
    const { put } = await start(BOUND.header);
    const auth = { type: "custom", secrets: { other: { envVar: "TOKEN" } }, headers: { "x-KEY": "Token {other}" } };
    expect((await put(auth)).status).toBe(201);
  });

  test.each(["?", "#", "%3f", "%23", "\\"])("cannot be moved out of a path by %s", async (separator) => {
    const { put } = await start(BOUND.path);
    const answer = await put(custom({ path: `/bot${separator}k={t}` }));
    expect([answer.status, answer.body.code]).toEqual([400, "VALIDATION_ERROR"]);
  });

  test("may be used in any place if REST_SECRETS lists it for the origin", async () => {
    const { owner, put } = await start(BOUND.header, {});
    const listed = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        EGRESS_ALLOW_PRIVATE: "true",
        TOKEN: SECRET,
        REST_SECRETS: `TOKEN@${owner.url}`,
      },
    });
    const body = { baseUrl: owner.url, auth: BOUND.path };
    expect((await put(BOUND.path)).status).toBe(403);
    expect((await manage(listed, "PUT", "/services/mine", body)).status).toBe(201);
  });
});

test("A second secret that nothing binds is refused, although the first one is bound", async () => {
  const { put } = await start(BOUND.header);
  const auth = {
    type: "custom",
    secrets: { ...secrets, u: { envVar: "OTHER" } },
    headers: { "X-Key": "Token {t}", "X-Other": "{u}" },
  };
  const answer = await put(auth);
  expect([answer.status, answer.body.hint]).toEqual([403, expect.stringContaining("OTHER@")]);
});

test("Two secrets may be bound by two services of the file", async () => {
  const owner = await startUpstream();
  const gateway = await startGateway({
    env: {
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      TOKEN: SECRET,
      OTHER: "another-secret-01",
    },
    services: {
      a: { baseUrl: owner.url, auth: custom({ headers: { A: "{t}" } }) as never },
      b: {
        baseUrl: owner.url,
        auth: { type: "custom", secrets: { u: { envVar: "OTHER" } }, query: { b: "{u}" } } as never,
      },
    },
  });
  const auth = {
    type: "custom",
    secrets: { ...secrets, u: { envVar: "OTHER" } },
    headers: { A: "{t}" },
    query: { b: "{u}" },
  };
  expect((await manage(gateway, "PUT", "/services/mine", { baseUrl: owner.url, auth })).status).toBe(201);
});

test("A program is never run for a service added over REST", async () => {
  const { gateway, put } = await start({ type: "bearer", tokenCommand: ["true"], required: false });
  for (const auth of [
    { type: "bearer", tokenCommand: ["true"], required: false },
    { type: "custom", secrets: { t: { command: ["true"] } }, headers: { A: "{t}" } },
  ]) {
    const answer = await put(auth);
    expect([answer.status, answer.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    expect(answer.body.message).toContain("cannot run a program");
  }
  expect((await manage(gateway, "PATCH", "/services/api", { timeoutMs: 5 })).status).toBe(403);
});
