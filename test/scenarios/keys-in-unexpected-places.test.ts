/** A gateway key in unexpected places of a request, and in the log. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

/** Every separator that a key may contain, so that no splitting loses a part of it. */
const KEY = 'a/b+c=d,e;f"g%41h:i-0123456789==';

async function start(service: Record<string, unknown> = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const env = { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, ...service } } });
  const ask = (headers: string, target = "/proxy/api/") =>
    rawRequest(gateway.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}Connection: close\r\n\r\n`);
  return { upstream, gateway, ask };
}

const encoded = encodeURIComponent(KEY);
const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("key with every separator in it", () => {
  test.each([
    ["bearer", `Authorization: Bearer ${KEY}\r\n`, "/proxy/api/"],
    ["x-api-key", `X-API-KEY: ${KEY}\r\n`, "/proxy/api/"],
    ["the query", "", `/proxy/api/?api_key=${encoded}`],
    ["the query, each byte encoded", "", `/proxy/api/?${percent("api_key")}=${percent(KEY)}&a=1`],
  ])("A key opens the plane as %s, and is not forwarded", async (_, headers, target) => {
    const { upstream, ask } = await start();
    expect((await ask(headers, target)).status).toBe(200);
    expect(upstream.received[0]).toMatch(/^GET \/(\?a=1)? HTTP/);
    expect(spellingsIn(upstream.received[0])).toEqual([]);
  });

  test.each([
    `Authorization: Basic ${base64(`user:${KEY}`)}`,
    `Authorization: Basic ${base64(`${KEY}`)}`,
    `Authorization: ${KEY}`,
    `Authorization: Custom ${KEY}`,
    `Authorization: Custom "${KEY}"`,
    `Authorization: Custom key=${KEY}`,
    `Authorization: Bearer ${encoded}`,
    `Cookie: a=1; key=${encoded}; b=2`,
    `Cookie: auth=Bearer%20${encoded}`,
    `Cookie: auth="${encoded}"`,
    `Cookie: ${encoded}`,
    `X-Request-Id: ${encoded}`,
  ])("A second copy of a key is removed: %s", async (line) => {
    const { upstream, gateway, ask } = await start({ cookies: true });
    const response = await ask(`x-api-key: ${KEY}\r\n${line}\r\n`);
    expect(response.status).toBe(200);
    expect(spellingsIn(upstream.received[0])).toEqual([]);
    expect(upstream.received[0]).not.toContain(line.split(": ")[1]);
    expect(spellingsIn(response.text + gateway.logText())).toEqual([]);
  });

  test("A key in a path is masked in the log, for a known service or not", async () => {
    const { gateway, ask } = await start();
    for (const service of ["api", "nope"]) {
      for (const spelling of [KEY.replace("%41", "%2541"), encoded, encoded.toLowerCase().replace("%2541", "%2541")]) {
        await ask(`x-api-key: ${KEY}\r\n`, `/proxy/${service}/x%3Fapi_key=${spelling}/${MANAGEMENT_KEY}`);
      }
    }
    expect(gateway.exchanges()).toHaveLength(6);
    expect(gateway.logText()).not.toContain(MANAGEMENT_KEY);
    expect(gateway.logText()).not.toContain(encoded);
  });
});

describe("request with several keys", () => {
  const wrong = "wrong-key-0123456789";
  test.each([
    [
      "a wrong bearer, a wrong header, a valid parameter",
      `Authorization: Bearer ${wrong}\r\nx-api-key: ${wrong}\r\n`,
      `?api_key=${encoded}`,
    ],
    ["the management key before the valid one", `Authorization: Bearer ${MANAGEMENT_KEY}\r\nx-api-key: ${KEY}\r\n`, ""],
    ["a valid bearer after a wrong one", `Authorization: Bearer ${wrong}\r\nAuthorization: Bearer ${KEY}\r\n`, ""],
    ["a valid parameter after a wrong one", "", `?api_key=${wrong}&api_key=${encoded}`],
  ])("A request is admitted by its one valid key, and all its keys are removed: %s", async (_, headers, query) => {
    const { upstream, ask } = await start({ auth: { type: "bearer", tokenEnvVar: "NOT_SET", required: false } });
    expect((await ask(headers, `/proxy/api/${query}`)).status).toBe(200);
    expect(upstream.received[0]).not.toMatch(/api_key|x-api-key/i);
    expect(upstream.received[0]).not.toContain(MANAGEMENT_KEY);
    expect(spellingsIn(upstream.received[0])).toEqual([]);
  });

  test("Of several valid keys the first one decides: bearer, then header, then parameter", async () => {
    const { gateway, ask } = await start();
    const grant = { name: "one of three", permissions: ["api:*"] };
    const [a, b, c] = await Promise.all(
      [0, 1, 2].map(async () => (await manage(gateway, "POST", "/keys", grant)).body),
    );
    const [bearer, header] = [`Authorization: Bearer ${a.key}\r\n`, `x-api-key: ${b.key}\r\n`];
    await ask(`${header}${bearer}`, `/proxy/api/?api_key=${c.key}`);
    await ask(header, `/proxy/api/?api_key=${c.key}`);
    await ask(`Authorization: Bearer ${c.key}\r\n${bearer}`);
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual([a.id, b.id, c.id]);
  });

  test("A request with wrong keys only is refused, and the refusal names the plane of a valid key for another plane", async () => {
    const { upstream, ask } = await start();
    const response = await ask(`Authorization: Bearer ${wrong}\r\nx-api-key: ${MANAGEMENT_KEY}\r\n`);
    expect(response.status).toBe(401);
    expect(JSON.parse(response.body).message).toMatch(/needs the proxy key.*is the management key/);
    const other = await ask(`x-api-key: ${KEY}\r\n`, "/manage/x");
    expect(JSON.parse(other.body).message).toMatch(/needs the management key.*is the proxy key/);
    expect(upstream.received).toEqual([]);
  });
});

function percent(text: string): string {
  return [...text].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
}

function spellingsIn(text: string | undefined): string[] {
  const spellings = [KEY, encoded, percent(KEY), base64(KEY), JSON.stringify(KEY).slice(1, -1), encoded.slice(4, 20)];
  return spellings.filter((spelling) => text === undefined || text.includes(spelling));
}
