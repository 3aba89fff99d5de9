/** Not even eight characters of a secret, in any encoding, are in anything that the gateway itself writes. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { startLines } from "../../src/start/describe-start.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

/** Letters beyond hexadecimal, so that no request or trace id can look like a part of a secret by chance. */
const random = () => [...randomBytes(24)].map((byte) => String.fromCharCode(0x67 + (byte % 20))).join("");
/** Some contain characters that JSON and URLs escape: those encodings must be masked too. */
const SECRETS = {
  PROXY_API_KEY: `${random()}"\\/+${random()}${random()}${random()}`,
  MANAGEMENT_API_KEY: `${random()}=&?${random()}`,
  BEARER: `${random()}"\\ä${random()}`,
  BASIC: `${random()}:"pä\\${random()}`,
  HEADER: `${random()}{}${random()}`,
  QUERY: `${random()} "&ä\\%${random()}`,
} as const;
const WRONG = random();
const OWN = random();

const windows = [...Object.values(SECRETS), WRONG, OWN].flatMap((secret) => {
  const spellings = [
    ...[secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)],
    ...[Buffer.from(secret).toString("base64"), Buffer.from(secret, "latin1").toString("base64url")],
    Buffer.from(secret).toString("latin1"),
  ];
  return spellings.flatMap((text) => Array.from({ length: text.length - 7 }, (_, i) => text.slice(i, i + 8)));
});

function expectNoPart(text: string, where: string): void {
  expect(
    windows.filter((part) => text.includes(part)),
    `${where}: ${text}`,
  ).toEqual([]);
}

async function startAll() {
  const good = await startUpstream();
  const cut = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "end"));
  const garbage = await startRawUpstream(respondWith("garbage\r\n\r\n"));
  const bearer = { type: "bearer", tokenEnvVar: "BEARER" } as const;
  const fast = { retries: 0, timeoutMs: 80 };
  const services = {
    good: { baseUrl: good.url, auth: bearer, ...fast },
    gone: { baseUrl: "http://127.0.0.1:1", auth: { type: "basic", tokenEnvVar: "BASIC" }, ...fast },
    garbage: { baseUrl: garbage.url, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "QUERY" }, ...fast },
    cut: { baseUrl: cut.url, auth: { type: "api-key", headerName: "X-Key", tokenEnvVar: "HEADER" }, ...fast },
    small: { baseUrl: good.url, auth: bearer, maxBodyBytes: 1, methods: ["POST"] as "POST"[], ...fast },
    missing: { baseUrl: good.url, auth: { type: "bearer", tokenEnvVar: "NOT_SET" } },
  } as const;
  return { services, gateway: await startGateway({ env: { ...SECRETS, LOG_LEVEL: "trace" }, services }) };
}

test("No log line, response or start-up text contains eight characters of a secret", async () => {
  const { gateway } = await startAll();
  const key = encodeURIComponent(SECRETS.PROXY_API_KEY);
  const paths = [
    "good",
    "gone",
    "garbage",
    "cut",
    "small",
    "missing",
    "nope",
    key,
    "good/%zz",
    "good/..",
    `good/${key}`,
  ];
  const targets = [
    ...paths.map((path) => `/proxy/${path}`),
    ...["/proxy/services", "/proxy/auth-test", "/manage/keys", `/nope/${key}`, "/proxy/services/good/rate-limit"],
    ...["http://localhost/", "*", "/#", `//${key}`, `/\\${key}`],
  ];
  const credentials = [
    `Authorization: Bearer ${WRONG}\r\nx-api-key: ${SECRETS.PROXY_API_KEY}\r\n`,
    `x-api-key: ${SECRETS.MANAGEMENT_API_KEY}\r\nX-Request-Id: ${SECRETS.MANAGEMENT_API_KEY}\r\n`,
    `Authorization: Basic ${WRONG}\r\n`,
  ];
  const ends = [
    "",
    "Host: again\r\n",
    "Upgrade: websocket\r\n",
    "Transfer-Encoding: gzip\r\n",
    "X\x01: a\r\n",
    "Content-Length: 9\r\n",
  ];
  const requests = targets.flatMap((target) =>
    credentials.flatMap((credential, i) => [
      `GET ${target}?api_key=${WRONG}&${OWN}&x=${OWN} HTTP/1.1\r\nHost: localhost\r\n${credential}Cookie: ${OWN}\r\n`,
      `POST ${target}?x=${OWN} HTTP/1.1\r\nHost: localhost\r\n${credential}${ends[(target.length + i) % ends.length]}`,
    ]),
  );
  const ask = (request: string) => rawRequest(gateway.port, `${request}Connection: close\r\n\r\n`, { withinMs: 2_000 });
  const responses = await Promise.all(requests.map(ask));
  for (const [i, response] of responses.entries()) expectNoPart(response.text, requests[i] as string);
  expect(new Set(responses.map(({ status }) => status)).size).toBeGreaterThan(6);
  // A retry may still be in progress for a client that has left.
  await eventually(() => gateway.exchanges().length > 50, "more than fifty exchanges");
  expectNoPart(gateway.logText(), "the log");
});

test("Start-up texts, warnings and configuration errors name variables, never their values", async () => {
  const env = { ...SECRETS, HOST: "0.0.0.0", REQUIRE_AUTH_FOR_PROXY: "false", ALLOW_UNAUTHENTICATED: "true" };
  const config = await loadConfig({ processEnv: env, directory: "/nonexistent" });
  expectNoPart(
    [
      ...startLines({ config, services: [...config.services.values()], url: "http://0.0.0.0:1", isInContainer: true }),
      ...config.warnings,
    ].join("\n"),
    "the start-up text",
  );
  for (const broken of [
    { PORT: SECRETS.PROXY_API_KEY },
    { MANAGEMENT_API_KEY: SECRETS.PROXY_API_KEY },
    { PROXY_API_KEY: `${SECRETS.PROXY_API_KEY} with spaces` },
  ]) {
    const isPort = "PORT" in broken;
    try {
      await loadConfig({ processEnv: { ...SECRETS, ...broken }, directory: "/nonexistent" });
      expect.unreachable();
    } catch (error) {
      // The value of a variable that holds no secret is shown, so that it can be fixed.
      if (!isPort) expectNoPart(String(error), JSON.stringify(Object.keys(broken)));
    }
  }
});

describe("echo service", () => {
  test.each([
    ["bearer", { type: "bearer", tokenEnvVar: "BEARER" }],
    ["basic", { type: "basic", tokenEnvVar: "BASIC" }],
    ["a header", { type: "api-key", headerName: "X-Key", tokenEnvVar: "HEADER" }],
    ["the query", { type: "api-key", queryParam: "key", tokenEnvVar: "QUERY" }],
  ] as const)("The echo service shows everything that reached it except the secret injected as %s", async (_, auth) => {
    const gateway = await startGateway({ env: { ...SECRETS }, services: { echo: { auth } } });
    const response = await fetch(`${gateway.url}/proxy/echo/x?a=1`, {
      headers: { "x-api-key": SECRETS.PROXY_API_KEY },
    });
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ path: "/x", query: { a: "1" } });
    expect(text).toContain("***");
    expectNoPart(text, "the echo");
  });
});
