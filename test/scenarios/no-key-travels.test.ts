/** No key of the gateway reaches an upstream, wherever a client puts it: what carries it is removed, all else is forwarded as it is. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const percent = (text: string) => text.replace(/./g, (each) => `%${each.charCodeAt(0).toString(16)}`);

const SERVICES = {
  plain: {},
  cookies: { cookies: true, forwardedHeaders: true },
  bearer: { ws: true, auth: { type: "bearer", tokenEnvVar: "SECRET" } },
  header: { auth: { type: "api-key", headerName: "X-Token", tokenEnvVar: "SECRET" } },
  query: { auth: { type: "api-key", queryParam: "key", tokenEnvVar: "SECRET" } },
  basic: { cookies: true, auth: { type: "basic", tokenEnvVar: "SECRET" } },
  optional: { auth: { type: "api-key", headerName: "X-Token", tokenEnvVar: "MISSING", required: false } },
  open: { access: "public", pathPolicy: "raw" },
} as const;

async function start() {
  const upstream = await startRawUpstream(
    respondWith("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "end"),
  );
  const services = Object.fromEntries(
    Object.entries(SERVICES).map(([key, each]) => [key, { baseUrl: upstream.url, ...each }]),
  );
  const env = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, SECRET: "user:secret" };
  const gateway = await startGateway({ env, services: services as never });
  const issue = async (name: string) =>
    (await manage(gateway, "POST", "/keys", { name, permissions: ["*:*"] })).body as {
      id: string;
      key: string;
    };
  const [issued, revoked] = [await issue("active"), await issue("revoked")];
  await manage(gateway, "DELETE", `/keys/${revoked.id}`);
  return { upstream, gateway, keys: [PROXY_KEY, MANAGEMENT_KEY, issued.key, revoked.key] };
}

async function send({ port }: TestGateway, target: string, lines: readonly string[]) {
  const head = [`GET ${target} HTTP/1.1`, "Host: localhost", `x-api-key: ${PROXY_KEY}`, ...lines, "Connection: close"];
  return rawRequest(port, `${head.join("\r\n")}\r\n\r\n`);
}

describe("key of the gateway in a header", () => {
  test.each([
    (key: string) => `api-key: ${key}`,
    (key: string) => `x-goog-api-key: ${key}`,
    (key: string) => `PRIVATE-TOKEN: ${key}`,
    (key: string) => `X-Auth: Bearer ${key}`,
    (key: string) => `X-Auth: Token\t ${key}`,
    (key: string) => `X-Auth: Token token="${key}"`,
    (key: string) => `X-Auth: "${key}"`,
    (key: string) => `X-Auth: Basic ${base64(`user:${key}`)}`,
    (key: string) => `X-Auth: Basic ${base64(`${key}:`)}`,
    (key: string) => `X-Auth: ${percent(key)}`,
    (key: string) => `Authorization: AWS4-HMAC-SHA256 Credential=${key}/20260101/eu/s3/aws4_request, Signature=0`,
    (key: string) => `X-Auth: AWS4-HMAC-SHA256 SignedHeaders=host, Credential=${key}/20260101/eu/s3/aws4_request`,
    (key: string) => `Authorization: AWS ${key}:c2lnbmF0dXJl`,
    (key: string) => `Sec_WebSocket_Protocol: ${key}`,
    (key: string) => `Content-Type: ${key}`,
    (key: string) => `Via: 1.1 ${key}`,
    (key: string) => `traceparent: 01-${"1".repeat(32)}-${"1".repeat(16)}-00-${key}`,
    (key: string) => `tracestate: x=${key}`,
    (key: string) => `${key}: a-name`,
  ])("The header is removed, and the headers beside it are not: %s", async (line) => {
    const { upstream, gateway, keys } = await start();
    for (const key of keys) {
      expect((await send(gateway, "/proxy/plain/x", ["A: 1", line(key), "B: Bearer 2"])).status).toBe(200);
    }
    const received = upstream.received.join("");
    for (const key of keys) expect(received).not.toContain(key);
    expect(received).not.toContain(base64(`user:${PROXY_KEY}`));
    expect(received).not.toContain(percent(PROXY_KEY));
    expect(received.match(/^A: 1\r\nB: Bearer 2\r$/gm)).toHaveLength(keys.length);
  });

  test("The client's Host is no part of the forwarded headers where it is a key", async () => {
    const { upstream, gateway } = await start();
    for (const host of [PROXY_KEY, `${MANAGEMENT_KEY}:80`]) {
      const head = `GET /proxy/cookies/ HTTP/1.1\r\nHost: ${host}\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`;
      expect((await rawRequest(gateway.port, head)).status).toBe(200);
    }
    expect(upstream.received.join("")).not.toMatch(/proxy-key|management-key/);
    expect(upstream.received.join("")).toMatch(/^X-Forwarded-Proto: http\r$/m);
  });
});

test("Only the pair of a cookie with a key is removed", async () => {
  const { upstream, gateway, keys } = await start();
  for (const key of keys) await send(gateway, "/proxy/cookies/x", [`Cookie: a=1;  b="2"; session=${key}; c=3`]);
  expect(upstream.received.join("").match(/^Cookie: a=1; {2}b="2"; c=3\r$/gm)).toHaveLength(keys.length);
});

test("Only the parameter with a key is removed from a query, decoded once and repeatedly, by its value or its name", async () => {
  const { upstream, gateway, keys } = await start();
  for (const key of keys) {
    const forms = [`k=${key}`, `k=${percent(key)}`, `k=${percent(percent(key))}`, `k=Bearer+${key}`, key, `${key}=1`];
    for (const form of forms) {
      expect((await send(gateway, `/proxy/plain/x?z=%2f%2F&${form}&a=1&a=2&b=%zz+`, [])).status).toBe(200);
    }
  }
  const heads = upstream.received.join("").match(/^GET .*\r$/gm);
  expect(heads).toHaveLength(24);
  expect(new Set(heads)).toEqual(new Set(["GET /x?z=%2f%2F&a=1&a=2&b=%zz+ HTTP/1.1\r"]));
});

test("A segment of a path that is a key is refused, in any encoding, and is in no response and no log line", async () => {
  const { upstream, gateway, keys } = await start();
  for (const key of keys) {
    for (const segment of [key, percent(key), percent(percent(key)), `a%2f${key}`, `a;token=${key}`]) {
      for (const service of ["plain", "open"]) {
        const response = await send(gateway, `/proxy/${service}/a/${segment}/b`, []);
        expect([response.status, JSON.parse(response.body).code]).toEqual([400, "INVALID_PATH"]);
        expect(response.text).not.toContain(segment);
        expect(gateway.logText()).not.toContain(segment);
      }
    }
  }
  expect(gateway.exchanges()[0]?.path).toBe("/proxy/plain/a/***/b");
  expect(upstream.received).toEqual([]);
});

test("A key in a request target in absolute form is refused with the target", async () => {
  const { upstream, gateway } = await start();
  const response = await send(gateway, `http://localhost/proxy/plain/x?k=${PROXY_KEY}`, []);
  expect(response.status).toBe(400);
  expect(upstream.received).toEqual([]);
});

test("Trailers of a request, with a key or not, do not reach the upstream", async () => {
  const { upstream, gateway } = await start();
  const head = `POST /proxy/plain/x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Key\r\n`;
  const body = `3;ext=${MANAGEMENT_KEY}\r\nabc\r\n0\r\nX-Key: ${MANAGEMENT_KEY}\r\n\r\n`;
  expect((await rawRequest(gateway.port, `${head}Connection: close\r\n\r\n${body}`, { until: "ok" })).status).toBe(200);
  expect(upstream.received.join("")).not.toContain(MANAGEMENT_KEY);
  expect(upstream.received.join("")).toContain("abc");
});

test("Only the subprotocol with a key is removed from a WebSocket's handshake", async () => {
  const { upstream, gateway, keys } = await start();
  for (const key of keys) {
    const offered = `realtime, openai-insecure-api-key.${key},${key}, openai-beta.realtime-v1`;
    await send(gateway, "/proxy/bearer/x", [
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
      `Sec-WebSocket-Protocol: ${offered}`,
    ]);
  }
  const received = upstream.received.join("");
  expect(received.match(/^sec-websocket-protocol: realtime, openai-beta.realtime-v1\r$/gim)).toHaveLength(keys.length);
  for (const key of keys) expect(received).not.toContain(key);
});

test("Explain shows the request without the key", async () => {
  const { gateway, keys } = await start();
  for (const key of keys) {
    const path = `/proxy/plain/x?a=1&k=${key}`;
    const headers = { "api-key": key, Cookie: `a=${key}` };
    const { body } = await manage(gateway, "POST", "/explain", { method: "GET", path, headers, caller: "proxy-key" });
    expect(JSON.stringify(body)).not.toContain(key);
    expect(body).toMatchObject({ verdict: "forward" });
    expect((body as { upstream: { url: string } }).upstream.url).toMatch(/\/x\?a=1$/);
    const refused = await manage(gateway, "POST", "/explain", {
      method: "GET",
      path: `/proxy/plain/${key}`,
      caller: "proxy-key",
    });
    expect(refused.body).toMatchObject({ verdict: "refuse", refusal: { code: "INVALID_PATH" } });
  }
});

/** Ways to write a key, as text that may be in a header, a cookie or a query. */
const WRITINGS: readonly ((key: string) => string)[] = [
  (key) => key,
  (key) => `Bearer ${key}`,
  (key) => `Basic ${base64(`x:${key}`)}`,
  (key) => `Basic ${base64(`${key}:y`)}`,
  (key) => `"${key}"`,
  (key) => `token=${key}`,
  percent,
];

const ORDINARY = fc.stringMatching(/^[a-z][a-z0-9]{0,12}$/);

test("Random keys in random places never reach the upstream, and everything else does", async () => {
  const { upstream, gateway, keys } = await start();
  const key = fc.constantFrom(...keys);
  const written = fc.tuple(key, fc.constantFrom(...WRITINGS)).map(([text, write]) => write(text));
  const name = fc.oneof(
    fc.constantFrom("api-key", "X-Token", "Cookie", "Authorization", "X_Api_Key", "Referer", "Sec-WebSocket-Protocol"),
    ORDINARY.map((text) => `x-${text}`),
  );
  const line = fc
    .tuple(name, written)
    .map(([header, value]) => `${header}: ${header === "Cookie" ? `c=${value.replaceAll(" ", "%20")}` : value}`);
  const parameter = fc.tuple(ORDINARY, written, fc.nat(2)).map(([each, value, times]) => {
    let text = value.replaceAll(" ", "+");
    for (let i = 0; i < times; i++) text = percent(text.replaceAll("+", " "));
    return `${each}=${text}`;
  });
  const kept = fc.tuple(ORDINARY, ORDINARY);
  const request = fc.record({
    service: fc.constantFrom(...(Object.keys(SERVICES) as (keyof typeof SERVICES)[])),
    lines: fc.array(line, { maxLength: 4 }),
    parameters: fc.array(parameter, { maxLength: 3 }),
    keptLines: fc.array(kept, { maxLength: 3 }),
    keptParameters: fc.array(kept, { maxLength: 3 }),
  });
  const numRuns = Number(process.env.FUZZ_CASES ?? 150);
  await fc.assert(
    fc.asyncProperty(request, async ({ service, lines, parameters, keptLines, keptParameters }) => {
      const headers = keptLines.map(([each, value]) => `X-Kept-${each}: ${value}`);
      const query = keptParameters.map(([each, value]) => `kept-${each}=${value}`);
      const all = [...parameters, ...query].join("&");
      const target = `/proxy/${service}/x${all === "" ? "" : `?${all}`}`;
      const { status } = await send(gateway, target, [...lines, ...headers]);
      expect(status).toBe(200);
      const received = upstream.received.at(-1) as string;
      expect(foundIn(received, keys)).toEqual([]);
      for (const header of headers) expect(received).toContain(`${header}\r\n`);
      if (query.length > 0) expect(received.split("\r\n", 1)[0]).toContain(query.join("&"));
    }),
    { seed: 20261129, numRuns },
  );
}, 120_000);

/** Keys in a text: as they are, percent-encoded any number of times, or in base64. */
function foundIn(text: string, keys: readonly string[]): readonly string[] {
  let decoded = text;
  for (let last = ""; last !== decoded; ) {
    last = decoded;
    decoded = decoded.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  const pairs = [...decoded.matchAll(/[A-Za-z0-9+/=]{20,}/g)].map(([each]) =>
    Buffer.from(each, "base64").toString("latin1"),
  );
  return keys.filter((key) => [text, decoded, ...pairs].some((each) => each.includes(key)));
}
