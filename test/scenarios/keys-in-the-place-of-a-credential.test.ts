/** The caller's key in the place where the service's own API has its credential, as SDKs send it. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const SECRET = "user:the-real-secret";
const base64 = (text: string) => Buffer.from(text).toString("base64");

const auth = (more: object) => ({ tokenEnvVar: "SECRET", ...more }) as never;
const AUTHS = {
  gemini: auth({ type: "api-key", headerName: "x-goog-api-key" }),
  deepl: auth({ type: "api-key", headerName: "Authorization", scheme: "DeepL-Auth-Key" }),
  linear: auth({ type: "api-key", headerName: "Authorization" }),
  maps: auth({ type: "api-key", queryParam: "key" }),
  jira: auth({ type: "basic" }),
  github: auth({ type: "bearer" }),
};

async function start(env: Record<string, string> = {}, more: object = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const services = Object.fromEntries(
    Object.entries(AUTHS).map(([key, each]) => [key, { baseUrl: upstream.url, auth: each, ...more }]),
  );
  const keys = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, SECRET };
  const gateway = await startGateway({
    env: { ...keys, ...env },
    services: {
      ...services,
      open: { baseUrl: upstream.url },
      pub: { baseUrl: upstream.url, access: "public", auth: AUTHS.gemini },
    },
  });
  return { upstream, gateway };
}

type Placed = readonly [service: keyof typeof AUTHS, query: string, lines: readonly string[]];

/** A request with the key in a place. */
const PLACES: readonly (readonly [name: string, place: (key: string) => Placed])[] = [
  ["header", (key) => ["gemini", "", [`X-Goog-Api-Key: ${key}`]]],
  ["header with a scheme", (key) => ["deepl", "", [`Authorization: DeepL-Auth-Key ${key}`]]],
  ["header without its scheme", (key) => ["deepl", "", [`Authorization: ${key}`]]],
  ["bare Authorization", (key) => ["linear", "", [`Authorization: ${key}`]]],
  ["parameter", (key) => ["maps", `?a=%2F&key=${key}`, []]],
  ["encoded parameter", (key) => ["maps", `?a=%2F&k%65y=${key.replace("-", "%2D")}`, []]],
  ["password of Basic", (key) => ["jira", "", [`Authorization: Basic ${base64(`x:${key}`)}`]]],
  ["user name of Basic", (key) => ["jira", "", [`Authorization: Basic ${base64(`${key}:`)}`]]],
  ["token", (key) => ["github", "", [`Authorization: token ${key}`]]],
];

async function ask({ port }: TestGateway, service: string, query: string, lines: readonly string[]) {
  const head = [`GET /proxy/${service}/x${query} HTTP/1.1`, "Host: localhost", ...lines, "Connection: close"];
  return rawRequest(port, `${head.join("\r\n")}\r\n\r\n`);
}

let guessed = 0;
const guess = () => `guess-number-${guessed++}-0123456789`;

describe.each(PLACES)("key in the place of the credential: %s", (name, place) => {
  test("The key is accepted, and the upstream receives the credential in its place and no part of the key", async () => {
    const { upstream, gateway } = await start();
    const issued = (await manage(gateway, "POST", "/keys", { name: "sdk", permissions: ["*:*"] })).body as {
      key: string;
    };
    for (const key of [PROXY_KEY, issued.key]) {
      const response = await ask(gateway, ...place(key));
      expect(response.status).toBe(200);
      expect(response.text + gateway.logText()).not.toContain(key);
    }
    const heads = upstream.received.join("").split(/(?=^GET )/m);
    expect(heads).toHaveLength(2);
    for (const received of heads) {
      for (const key of [PROXY_KEY, issued.key]) {
        expect(received).not.toContain(key);
        expect(received).not.toContain(base64(`x:${key}`));
        expect(received).not.toContain(base64(`${key}:`));
      }
      expect(received.includes("the-real-secret") || received.includes(base64(SECRET))).toBe(true);
    }
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual(["proxy-key", expect.stringMatching(/^key_/)]);
  });

  test("The place of one service is not read for another one, nor for a service without a credential or an unknown one", async () => {
    if (name === "token") return expect(place(PROXY_KEY)[0]).toBe("github");
    const { upstream, gateway } = await start();
    const [own, query, lines] = place(PROXY_KEY);
    // A bare key is read from Authorization by each service that has its credential there.
    const sharing = lines.some((line) => line === `Authorization: ${PROXY_KEY}`) ? ["deepl", "linear", "github"] : [];
    const others = [...Object.keys(AUTHS), "open", "nope"].filter((key) => key !== own && !sharing.includes(key));
    for (const other of others) expect((await ask(gateway, other, query, lines)).status, other).toBe(401);
    expect(upstream.received).toEqual([]);
  });

  test("A key that may not use the service gains nothing, and neither does an ended key", async () => {
    const { upstream, gateway } = await start();
    const issue = async (permissions: string[]) =>
      (await manage(gateway, "POST", "/keys", { name: "x", permissions })).body as { id: string; key: string };
    const [other, ended] = [await issue(["open:*"]), await issue(["*:*"])];
    await manage(gateway, "DELETE", `/keys/${ended.id}`);
    expect((await ask(gateway, ...place(other.key))).status).toBe(403);
    expect((await ask(gateway, ...place(ended.key))).status).toBe(401);
    expect((await ask(gateway, ...place(MANAGEMENT_KEY))).status).toBe(401);
    expect(upstream.received).toEqual([]);
  });

  test("Ten unknown keys in the place lock the address out, and an ended key or none counts as no guess", async () => {
    const { gateway } = await start();
    const { id, key } = (await manage(gateway, "POST", "/keys", { name: "x", permissions: ["*:*"] })).body as {
      id: string;
      key: string;
    };
    await manage(gateway, "DELETE", `/keys/${id}`);
    for (let i = 0; i < 12; i++) expect((await ask(gateway, ...place(key))).status).toBe(401);
    for (let i = 0; i < 10; i++) expect((await ask(gateway, ...place(guess()))).status).toBe(401);
    expect((await ask(gateway, ...place(guess()))).status).toBe(429);
    expect((await ask(gateway, ...place(PROXY_KEY))).status).toBe(429);
    expect((await ask(gateway, "open", "", [`x-api-key: ${PROXY_KEY}`])).status).toBe(429);
  });

  test("A stranger's response does not show whether the service reads the place", async () => {
    const { gateway } = await start();
    const [own, query, lines] = place(guess());
    const bodies = new Set<string>();
    for (const service of [own, "open", "nope"]) {
      const response = await ask(gateway, service, query, lines);
      expect(response.status).toBe(401);
      const { path, requestId, ...body } = JSON.parse(response.body);
      expect([path, requestId]).toEqual([`/proxy/${service}/x`, expect.anything()]);
      const challenges = [...response.head.matchAll(/^www-authenticate: (.*)\r?$/gim)].map(([, value]) =>
        value?.trim(),
      );
      expect(challenges).toEqual(["Bearer", 'Basic realm="ByteProxy"']);
      bodies.add(JSON.stringify(body));
    }
    expect(bodies.size).toBe(1);
  });
});

test("Of twenty keys in one place three are checked, and each of them is a guess", async () => {
  const { gateway } = await start();
  const query = (last: string) => `?${Array.from({ length: 20 }, () => `key=${guess()}`).join("&")}&key=${last}`;
  for (let i = 0; i < 4; i++) expect((await ask(gateway, "maps", query(PROXY_KEY), [])).status).toBe(i < 4 ? 401 : 429);
  expect((await ask(gateway, "maps", `?key=${PROXY_KEY}`, [])).status).toBe(429);
});

test("The three forms are read before the place, and a valid key in one of them makes the text in the place no guess", async () => {
  const { upstream, gateway } = await start();
  const { id, key } = (await manage(gateway, "POST", "/keys", { name: "x", permissions: ["*:*"] })).body as {
    id: string;
    key: string;
  };
  for (let i = 0; i < 11; i++) {
    const lines = [`x-api-key: ${PROXY_KEY}`, `x-goog-api-key: ${guess()}`];
    expect((await ask(gateway, "gemini", "", lines)).status).toBe(200);
  }
  expect(upstream.received.join("")).not.toContain("guess-number");
  expect((await ask(gateway, "gemini", "", [`x-api-key: ${PROXY_KEY}`, `x-goog-api-key: ${key}`])).status).toBe(200);
  expect((await ask(gateway, "gemini", "", ["x-api-key: wrong", `x-goog-api-key: ${key}`])).status).toBe(200);
  expect(
    gateway
      .exchanges()
      .slice(-2)
      .map(({ caller }) => caller),
  ).toEqual(["proxy-key", id]);
});

test("A public service identifies a caller by the key in the place, and forwards nothing of another text there", async () => {
  const { upstream, gateway } = await start();
  for (let i = 0; i < 11; i++) expect((await ask(gateway, "pub", "", [`x-goog-api-key: ${guess()}`])).status).toBe(200);
  expect((await ask(gateway, "pub", "", [`x-goog-api-key: ${PROXY_KEY}`])).status).toBe(200);
  expect(gateway.exchanges().at(-1)?.caller).toBe("proxy-key");
  expect(upstream.received.join("")).not.toMatch(/guess-number|proxy-key/);
});

test("A plane without a key removes what is in the place", async () => {
  const { upstream, gateway } = await start({ REQUIRE_AUTH_FOR_PROXY: "false" });
  expect((await ask(gateway, "gemini", "", ["x-goog-api-key: own-text"])).status).toBe(200);
  expect(upstream.received[0]).not.toContain("own-text");
});

test("A service whose secret is optional and missing reads the place too, and forwards the caller's own credential in it", async () => {
  const { upstream, gateway } = await start({ SECRET: "" }, {});
  expect((await ask(gateway, "gemini", "", [`x-goog-api-key: ${PROXY_KEY}`])).status).toBe(401);
  const services = {
    api: { baseUrl: upstream.url, auth: auth({ type: "api-key", headerName: "x-goog-api-key", required: false }) },
  };
  const optional = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY }, services });
  expect((await ask(optional, "api", "", [`x-goog-api-key: ${PROXY_KEY}`])).status).toBe(200);
  expect((await ask(optional, "api", "", [`x-api-key: ${PROXY_KEY}`, "x-goog-api-key: the-callers-own"])).status).toBe(
    200,
  );
  expect(upstream.received.join("")).not.toContain(PROXY_KEY);
  expect(upstream.received.join("")).toMatch(/^x-goog-api-key: the-callers-own\r$/m);
});

describe("challenge", () => {
  test.each([
    ["a program", [], true],
    ["git", ["User-Agent: git/2.47"], true],
    ["a browser by its agent", ["User-Agent: Mozilla/5.0 (X11; Linux x86_64)"], false],
    ["a browser by Origin", ["Origin: http://localhost:3420"], false],
    ["a browser by Sec-Fetch", ["Sec-Fetch-Mode: navigate"], false],
  ])(
    "Basic is offered to programs under /proxy, and not to browsers, which would ask their user: %s",
    async (_, lines, offers) => {
      const { gateway } = await start({ CORS_ORIGINS: "http://localhost:3420" });
      for (const path of ["gemini", "open", "nope"]) {
        const { status, head } = await ask(gateway, path, "", lines);
        expect([status, /^WWW-Authenticate: Basic realm="ByteProxy"/im.test(head)]).toEqual([401, offers]);
        expect(head).toMatch(/^WWW-Authenticate: Bearer\r?$/im);
      }
    },
  );

  test("Routes under /manage offer no Basic, and read no key from it", async () => {
    const { gateway } = await start();
    const head = `GET /manage/services HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic ${base64(`x:${MANAGEMENT_KEY}`)}\r\n`;
    const response = await rawRequest(gateway.port, `${head}Connection: close\r\n\r\n`);
    expect(response.status).toBe(401);
    expect(response.head).not.toMatch(/Basic/i);
  });

  test.each(["cross-site", "same-site"])("A key in Basic from a page of another site is refused: %s", async (site) => {
    const { upstream, gateway } = await start();
    const lines = [`Authorization: Basic ${base64(`x:${PROXY_KEY}`)}`, `Sec-Fetch-Site: ${site}`];
    expect((await ask(gateway, "jira", "", lines)).status).toBe(401);
    expect(upstream.received).toEqual([]);
  });
});

test("A key with the form of an issued one in a wrong place is named in the 401, known or not", async () => {
  const { gateway } = await start();
  const { key } = (await manage(gateway, "POST", "/keys", { name: "x", permissions: ["*:*"] })).body as { key: string };
  for (const [query, lines, place] of [
    ["", [`x-goog-api-key: ${key}`], /The header x-goog-api-key holds/],
    [`?key=${key}`, [], /A parameter of the query holds/],
    ["", [`Authorization: Basic ${base64(`x:${key}`)}`], /The header Authorization holds/],
  ] as const) {
    const { body } = await ask(gateway, "open", query, lines);
    expect(JSON.parse(body).message).toMatch(place);
    expect(body).not.toContain(key);
  }
});

describe("key in the place of a custom credential", () => {
  const custom = (places: object) => ({ type: "custom", secrets: { token: { envVar: "SECRET" } }, ...places }) as never;

  async function startCustom() {
    const { url, received } = await startRawUpstream(
      respondWith("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "end"),
    );
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, SECRET: "the-real-secret" },
      services: {
        telegram: { baseUrl: url, auth: custom({ path: ["/file/bot{token}", "/bot{token}"] }) },
        versioned: { baseUrl: url, versionedBaseUrls: { v1: `${url}/v1` }, auth: custom({ path: "/bot{token}" }) },
        realtime: { baseUrl: url, ws: true, auth: custom({ subprotocol: "openai-insecure-api-key.{token}" }) },
        plain: { baseUrl: url },
      },
    });
    const send = async (target: string, lines: readonly string[] = []) => {
      const head = [`GET /proxy/${target} HTTP/1.1`, "Host: localhost", ...lines, "Connection: close"];
      return rawRequest(gateway.port, `${head.join("\r\n")}\r\n\r\n`);
    };
    return { gateway, received, send };
  }

  test.each([
    ["telegram/bot<key>/getMe", /^GET \/bot[^/]*the-real-secret\/getMe HTTP/, "/proxy/telegram/getMe"],
    ["telegram/file/bot<key>/a.png", /^GET \/file\/bot[^/]*the-real-secret\/a.png HTTP/, "/proxy/telegram/a.png"],
    ["versioned/v1/bot<key>/x", /^GET \/v1\/bot[^/]*the-real-secret\/x HTTP/, "/proxy/versioned/v1/x"],
  ])("A path is accepted, and neither the upstream nor the log gets the key: %s", async (target, expected, logged) => {
    const { gateway, received, send } = await startCustom();
    for (const key of [PROXY_KEY, PROXY_KEY.replace("-", "%2d")]) {
      expect((await send(target.replace("<key>", key))).status).toBe(200);
      expect(received.at(-1)).toMatch(expected);
    }
    expect(gateway.exchanges().map(({ path, caller }) => [path, caller])).toEqual([
      [logged, "proxy-key"],
      [logged, "proxy-key"],
    ]);
  });

  test("A path of one service is none of another, unknown keys in it are guesses, and an ordinary path is none", async () => {
    const { gateway, received, send } = await startCustom();
    for (const service of ["plain", "nope", "realtime"]) {
      const response = await send(`${service}/bot${PROXY_KEY}/getMe`);
      expect(response.status).toBe(401);
      expect(response.text + gateway.logText()).not.toContain(PROXY_KEY);
    }
    for (let i = 0; i < 12; i++) expect((await send("telegram/bottleneck/getMe")).status).toBe(401);
    for (let i = 0; i < 10; i++) expect((await send(`telegram/bot${guess()}/getMe`)).status).toBe(401);
    expect((await send(`telegram/bot${PROXY_KEY}/getMe`)).status).toBe(429);
    expect(received).toEqual([]);
  });

  test("A second key in a path is refused", async () => {
    const { received, send } = await startCustom();
    expect((await send(`telegram/bot${PROXY_KEY}/${MANAGEMENT_KEY}`)).status).toBe(400);
    expect(received).toEqual([]);
  });

  test.each([
    "telegram/bot<key>/bot<key>/x",
    "telegram/bot<key>;a=1/x",
    "versioned/file/bot<key>/x",
    "versioned/bot<twice>/x",
  ])(
    "A key with the text of a path template around it is refused in another place of the path, and not logged: %s",
    async (target) => {
      const { gateway, received, send } = await startCustom();
      const twice = PROXY_KEY.replaceAll("-", "%252d");
      const path = target.replaceAll("<key>", PROXY_KEY).replaceAll("<twice>", twice);
      const response = await send(path, [`x-api-key: ${PROXY_KEY}`]);
      expect([response.status, received]).toEqual([400, []]);
      for (const key of [PROXY_KEY, twice]) expect(response.text + gateway.logText()).not.toContain(key);
    },
  );

  test("A subprotocol is accepted, and the upstream receives the credential in its place", async () => {
    const { gateway, received, send } = await startCustom();
    const handshake = [
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
    ];
    const offer = (key: string) => [...handshake, `Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.${key}`];
    await send("realtime/x", offer(PROXY_KEY));
    await eventually(() => gateway.exchanges()[0]?.caller === "proxy-key");
    expect(received[0]).toMatch(/^sec-websocket-protocol: realtime, openai-insecure-api-key.the-real-secret\r$/im);
    expect(received[0]).not.toContain(PROXY_KEY);
    expect((await send("plain/x", offer(PROXY_KEY))).status).toBe(401);
    for (let i = 0; i < 10; i++) expect((await send("realtime/x", offer(guess()))).status).toBe(401);
    expect((await send("realtime/x", offer(PROXY_KEY))).status).toBe(200);
    expect((await send("realtime/x", offer(guess()))).status).toBe(429);
  });
});

describe("for operators", () => {
  test("Explain lists the places of a service, and authenticates a request by the key in one of them", async () => {
    const { gateway } = await start();
    const forms = ["Authorization: Bearer <key>", "x-api-key: <key>", "?api_key=<key>"];
    const explain = async (path: string, headers: object) =>
      (await manage(gateway, "POST", "/explain", { method: "GET", path, headers })).body;
    expect(await explain("/proxy/gemini/x", { "x-goog-api-key": PROXY_KEY })).toMatchObject({
      verdict: "forward",
      request: { caller: "proxy-key" },
      keyPlaces: [...forms, "header x-goog-api-key"],
    });
    expect(await explain("/proxy/jira/x", { Authorization: `Basic ${base64(`x:${PROXY_KEY}`)}` })).toMatchObject({
      verdict: "forward",
      keyPlaces: [...forms, "header Authorization: Basic, the key as the password"],
    });
    expect(await explain("/proxy/open/x", { "x-goog-api-key": PROXY_KEY })).toMatchObject({
      verdict: "refuse",
      refusal: { code: "MISSING_CREDENTIALS" },
      keyPlaces: forms,
    });
    expect(await explain("/proxy/nope/x", {})).toMatchObject({ keyPlaces: null });
  });

  test("key-debug reads and lists the places of the service that is asked for", async () => {
    const { gateway } = await start();
    const debug = async (query: string, headers: Record<string, string>) =>
      (await manage(gateway, "GET", `/key-debug${query}`, undefined, headers)).body;
    const own = { "x-goog-api-key": PROXY_KEY };
    const of = await debug("?service=gemini", own);
    expect(of.presented.at(-1)).toMatchObject({ where: "header x-goog-api-key", matches: "proxy" });
    expect(of.service).toEqual({ key: "gemini", accepts: expect.arrayContaining(["header x-goog-api-key"]) });
    const other = await debug("?service=maps", own);
    expect([other.presented.length, other.service.accepts.at(-1)]).toEqual([1, "query key"]);
    expect((await debug(`?service=maps&key=${PROXY_KEY}`, {})).presented.at(-1)).toMatchObject({
      where: "query key",
      matches: "proxy",
    });
    expect(await debug("", own)).toMatchObject({ service: null, elsewhere: null });
    const { key } = (await manage(gateway, "POST", "/keys", { name: "x", permissions: ["*:*"] })).body as {
      key: string;
    };
    expect(await debug("", { "x-other": key })).toMatchObject({ elsewhere: "The header x-other" });
    expect((await manage(gateway, "GET", "/key-debug?service=nope")).status).toBe(404);
  });

  test("The check of keys reports what was wrong with a key in the place", async () => {
    const { gateway } = await start();
    await ask(gateway, "gemini", "", [`x-goog-api-key: ${PROXY_KEY.slice(0, -1)}`]);
    const { checks } = (await manage(gateway, "GET", "/diagnostics")).body as {
      checks: { id: string; evidence: { refused: object[] } }[];
    };
    expect(checks.find(({ id }) => id === "auth")?.evidence.refused).toMatchObject([
      { plane: "proxy", fault: "too short" },
    ]);
  });
});
