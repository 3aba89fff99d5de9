/** HMAC signatures of requests, verified by an upstream on what it receives. */
import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { problemsOf, services as written } from "../config/temp-folder.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-exchange";
const env = {
  API_KEY: "the-key-of-the-exchange",
  API_SECRET: SECRET,
  PROXY_API_KEY: PROXY_KEY,
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
};
const custom = {
  type: "custom" as const,
  secrets: { key: { envVar: "API_KEY" }, secret: { envVar: "API_SECRET" } },
};
const binance = {
  ...custom,
  headers: { "X-MBX-APIKEY": "{key}" },
  query: { signature: "{signature}", timestamp: "{timestamp}" },
  sign: { secret: "secret", message: "{query}{body}" },
};

/** The verdict of an exchange of the form of Binance: 503 for the first requests, then 200, or 401 for a wrong signature. */
async function startExchange(failures = 0) {
  const verdicts: { isValid: boolean; url: string; timestamp: number }[] = [];
  const upstream = await startUpstream(async (req, res) => {
    const body = await bodyOf(req);
    const [, signed = "", signature = ""] = /\?(.*)&signature=([0-9a-f]{64})$/.exec(req.url ?? "") ?? [];
    const expected = createHmac("sha256", SECRET).update(signed).update(body).digest("hex");
    const timestamp = Number(new URLSearchParams(signed).get("timestamp"));
    verdicts.push({ isValid: signature === expected, url: req.url ?? "", timestamp });
    res.statusCode = verdicts.length <= failures ? 503 : signature === expected ? 200 : 401;
    res.end(req.headers["x-mbx-apikey"]);
  });
  return { upstream, verdicts };
}

describe("a signature by HMAC", () => {
  test("The upstream accepts the signature of each request and of each attempt, and the caller's own parameters are removed", async () => {
    const { upstream, verdicts } = await startExchange(1);
    const gateway = await startGateway({ env, services: { x: { baseUrl: `${upstream.url}/api`, auth: binance } } });
    const url = `${gateway.url}/proxy/x/v3/order`;
    const headers = { "x-mbx-apikey": PROXY_KEY };
    const before = Date.now();
    expect((await fetch(`${url}?symbol=A%20B&timestamp=1&signature=2`, { headers })).status).toBe(200);
    const body = new Uint8Array([0x7b, 0xff, 0xc3, 0xa9]);
    expect((await fetch(url, { method: "POST", headers, body })).status).toBe(200);
    const streamed = new Blob([new Uint8Array(100_000)]).stream();
    const init = { method: "PUT", headers, body: streamed, duplex: "half" } as RequestInit;
    expect((await fetch(`${url}?a`, init)).status).toBe(200);
    expect(verdicts.map(({ isValid }) => isValid)).toEqual([true, true, true, true]);
    expect(verdicts[0]?.url).toMatch(/^\/api\/v3\/order\?symbol=A%20B&timestamp=\d{13}&signature=[0-9a-f]{64}$/);
    for (const { timestamp } of verdicts) expect(timestamp).toBeGreaterThanOrEqual(before);
  });

  test("A body over maxSignedBodyBytes is 413, and a message without a body lets every body stream", async () => {
    const { upstream } = await startExchange();
    const sign = { secret: "secret", message: "{query}" };
    const services = {
      small: { baseUrl: upstream.url, auth: { ...binance, maxSignedBodyBytes: 10 } },
      streaming: { baseUrl: upstream.url, auth: { ...binance, sign } },
    };
    const gateway = await startGateway({ env, services });
    const post = (service: string, length: number) =>
      fetch(`${gateway.url}/proxy/${service}/x`, {
        method: "POST",
        headers: { "x-api-key": PROXY_KEY },
        body: "x".repeat(length),
      });
    expect((await post("small", 10)).status).toBe(200);
    const refused = await post("small", 11);
    expect(refused.status).toBe(413);
    expect(await refused.text()).not.toContain("payload");
    expect((await post("streaming", 2_000_000)).status).toBe(401);
  });

  test("Neither the secret nor a signature is in the log or an explanation, and no key of a caller is read from computed places", async () => {
    const { upstream, verdicts } = await startExchange();
    const gateway = await startGateway({ env, services: { x: { baseUrl: upstream.url, auth: binance } } });
    await fetch(`${gateway.url}/proxy/x/y`, { headers: { "x-mbx-apikey": PROXY_KEY } });
    expect((await fetch(`${gateway.url}/proxy/x/y?signature=${PROXY_KEY}`)).status).toBe(401);
    const explained = await fetch(`${gateway.url}/manage/explain`, {
      method: "POST",
      headers: { authorization: `Bearer ${MANAGEMENT_KEY}`, "content-type": "application/json" },
      body: JSON.stringify({ method: "GET", path: "/proxy/x/y?a=1", headers: { "x-mbx-apikey": PROXY_KEY } }),
    });
    const explanation = await explained.text();
    expect(JSON.parse(explanation).keyPlaces).toEqual(expect.arrayContaining(["header X-MBX-APIKEY"]));
    expect(explanation).toContain("signature=***");
    const signature = new URLSearchParams(verdicts[0]?.url.split("?")[1]).get("signature") as string;
    for (const text of [explanation, gateway.logText()]) {
      expect(text).not.toContain(SECRET);
      expect(text).not.toContain(signature);
    }
  });

  test.each([
    [{ sign: { ...binance.sign, secret: "other" } }, "the name of a secret that secrets defines"],
    [{ sign: { ...binance.sign, message: "{nonce}" } }, "placeholders {timestamp}, {method}"],
    [{ query: { timestamp: "{timestamp}" } }, "a template of headers or query with {signature}"],
    [{ sign: undefined, query: { s: "{signature}" } }, "placeholders that secrets defines"],
    [{ path: "/x{signature}" }, "placeholders that secrets defines"],
    [{ sign: undefined, query: { s: "{secret}" }, maxSignedBodyBytes: 1 }, "maxSignedBodyBytes only with sign"],
    [
      { secrets: { ...custom.secrets, timestamp: { envVar: "API_KEY" } } },
      "another name: with sign, {timestamp} is computed",
    ],
    [{ secrets: { ...custom.secrets, body: { envVar: "API_KEY" } } }, "another name: with sign, {body} is computed"],
    [{ sign: { ...binance.sign, message: "{body|base64}" } }, "{body} without |base64"],
    [{ query: { signature: "{signature|base64}" } }, "{signature} without |base64"],
    [{ sign: { ...binance.sign, algorithm: "md5" } }, "sha256, sha384, sha512"],
    [{ sign: { ...binance.sign, secretEncoding: "hex" } }, "allowed: hex, as sign.secretEncoding says"],
  ])("%j is refused with %s", async (change, message) => {
    const found = await problemsOf(
      written({ x: { baseUrl: "https://x.example/", auth: { ...binance, ...change } } }),
      env,
    );
    expect(found.join("\n")).toContain(message);
  });

  test.each([
    ["hex", "0aFf"],
    ["base64", "+/8="],
    ["base64", "-_8"],
    ["base64", "AAAA"],
  ])("A key in %s may be written as %s", async (secretEncoding, key) => {
    const auth = { ...binance, sign: { ...binance.sign, secretEncoding } };
    const of = (secret: string) =>
      problemsOf(written({ x: { baseUrl: "https://x.example/", auth } }), { ...env, API_SECRET: secret });
    expect(await of(key)).toEqual([]);
    expect((await of(`${key}!`)).join()).toContain(`allowed: ${secretEncoding}, as sign.secretEncoding says`);
  });

  test("A service with a signature opens no WebSocket, and a pool has no signature", async () => {
    const of = (more: object) => problemsOf(written({ x: { baseUrl: "https://x.example/", ...more } }), env);
    expect((await of({ auth: binance, ws: true })).join()).toContain("false with a signature of each request");
    expect((await of({ auth: { type: "pool", of: [binance, binance] } })).join()).toContain("sign not within a pool");
  });
});
