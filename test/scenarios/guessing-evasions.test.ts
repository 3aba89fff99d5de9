/** Attempts to evade the limit of ten guesses a minute. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const env = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function start(more: Record<string, string> = {}) {
  const upstream = await startUpstream();
  return startGateway({ env: { ...env, ...more }, services: { api: { baseUrl: upstream.url } } });
}

async function issue(gateway: TestGateway, permissions: string[]) {
  const { body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions });
  return body as { id: string; key: string };
}

let guessed = 0;
const guess = () => `guess-number-${guessed++}-0123456789`;

/** The status of a request with these header lines. */
async function ask({ port }: TestGateway, target: string, lines: readonly string[]): Promise<number> {
  const head = [`GET ${target} HTTP/1.1`, "Host: localhost", ...lines, "Connection: close"];
  return (await rawRequest(port, `${head.join("\r\n")}\r\n\r\n`)).status;
}

describe("guessing", () => {
  test.each(["/proxy/api/x", "/manage/services"])(
    "Each of many keys in one request counts as a guess, and few of them are checked: %s",
    async (target) => {
      const gateway = await start();
      const right = target.startsWith("/proxy") ? PROXY_KEY : MANAGEMENT_KEY;
      const many = Array.from({ length: 20 }, guess);
      const query = many.map((key) => `api_key=${key}`).join("&");
      const lines = many.flatMap(() => [`x-api-key: ${guess()}`, `Authorization: Bearer ${guess()}`]);
      expect(await ask(gateway, `${target}?${query}&api_key=${right}`, lines)).toBe(401);
      expect(await ask(gateway, `${target}?${query}`, lines)).toBe(401);
      expect(await ask(gateway, target, [`x-api-key: ${right}`])).toBe(429);
    },
  );

  test.each(["/proxy/api/x", "/proxy/auth-test", "/status"])(
    "A foreign web page that guesses on %s locks out web pages only, on both planes",
    async (path) => {
      const gateway = await start();
      const image = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"];
      const silent = ["User-Agent: Mozilla/5.0 (X11; Linux x86_64)"];
      for (let i = 0; i < 12; i++) await ask(gateway, `${path}?api_key=${guess()}`, i % 2 === 0 ? image : silent);
      expect(await ask(gateway, `/proxy/api/x?api_key=${guess()}`, image)).toBe(429);
      expect(await ask(gateway, "/manage/services", [`x-api-key: ${MANAGEMENT_KEY}`])).toBe(200);
      expect(await ask(gateway, "/proxy/api/x", [`x-api-key: ${PROXY_KEY}`])).toBe(200);
      // A program cannot escape its own lock-out with a browser's header, nor use up another count with it.
      for (let i = 0; i < 10; i++) await ask(gateway, "/proxy/api/x", [`x-api-key: ${guess()}`]);
      expect(await ask(gateway, "/proxy/api/x", [`x-api-key: ${guess()}`])).toBe(429);
      expect(await ask(gateway, "/proxy/api/x", [`x-api-key: ${guess()}`, ...image])).toBe(429);
    },
  );

  test("A page that reaches the gateway by DNS rebinding locks out web pages only", async () => {
    const gateway = await start();
    const { port } = gateway;
    const name = `evil.test:${port}`;
    const head = `POST /proxy/api/x HTTP/1.1\r\nHost: ${name}\r\nOrigin: http://${name}\r\nUser-Agent: Mozilla/5.0 (X11)\r\n`;
    const send = async () =>
      (await rawRequest(port, `${head}x-api-key: ${guess()}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)).status;
    for (let i = 0; i < 10; i++) expect(await send()).toBe(401);
    expect(await send()).toBe(429);
    expect(await ask(gateway, "/proxy/api/x", [`x-api-key: ${PROXY_KEY}`])).toBe(200);
  });

  test("The same key in all three places of a request counts once", async () => {
    const gateway = await start();
    for (let i = 0; i < 9; i++) {
      const key = guess();
      const lines = [`x-api-key: ${key}`, `Authorization: Bearer ${key}`];
      expect(await ask(gateway, `/proxy/api/x?api_key=${key}`, lines)).toBe(401);
    }
    expect(await ask(gateway, "/proxy/api/x", [`x-api-key: ${PROXY_KEY}`])).toBe(200);
  });

  test.each([
    ["a revoked key", "/manage/keys", ["api:read"], true],
    ["a revoked key", "/proxy/api/x", ["api:read"], true],
    ["a key for the other plane", "/manage/keys", ["api:read"], false],
    ["a key for less", "/manage/keys", ["manage:read"], false],
  ])("An unknown key next to %s counts as a guess: %s", async (_, target, permissions, isRevoked) => {
    const gateway = await start();
    const { id, key } = await issue(gateway, permissions);
    if (isRevoked) await manage(gateway, "DELETE", `/keys/${id}`);
    for (let i = 0; i < 10; i++) {
      await ask(gateway, target, [`Authorization: Bearer ${guess()}`, `x-api-key: ${key}`]);
    }
    expect(await ask(gateway, target, [`Authorization: Bearer ${guess()}`])).toBe(429);
  });

  test("From a locked-out address a key that worked from there still works, and no other key next to it is checked", async () => {
    const gateway = await start();
    const { key } = await issue(gateway, ["manage:read"]);
    expect(await ask(gateway, "/manage/keys", [`x-api-key: ${key}`])).toBe(200);
    for (let i = 0; i < 10; i++) await ask(gateway, "/manage/keys", [`x-api-key: ${guess()}`]);
    // Valid, and never seen from there: PROXY_API_KEY.
    const both = [`Authorization: Bearer ${PROXY_KEY}`, `x-api-key: ${key}`];
    expect(await ask(gateway, "/manage/keys", both)).toBe(200);
    expect(await ask(gateway, "/proxy/api/x", [`Authorization: Bearer ${PROXY_KEY}`, `x-api-key: ${key}`])).toBe(401);
    expect(await ask(gateway, "/proxy/api/x", [`Authorization: Bearer ${PROXY_KEY}`])).toBe(429);
  });

  test("Guesses from one /64, in any spelling of an address, or with an untrusted header count together", async () => {
    const addresses = ["2001:db8::1", "2001:db8:0:0:9::2", "[2001:DB8::3]:443", '"[2001:db8::4]"', "2001:db8::ffff:5"];
    const trusting = await start({ TRUST_PROXY: "127.0.0.1" });
    for (let i = 0; i < 10; i++) {
      const from = addresses[i % addresses.length];
      expect(await ask(trusting, "/proxy/api/x", [`X-Forwarded-For: ${from}`, `x-api-key: ${guess()}`])).toBe(401);
    }
    const good = `x-api-key: ${PROXY_KEY}`;
    expect(await ask(trusting, "/proxy/api/x", ["X-Forwarded-For: 2001:db8::abc", good])).toBe(429);
    expect(await ask(trusting, "/proxy/api/x", ["X-Forwarded-For: 2001:db8:0:1::1", good])).toBe(200);
    // The client's own entries come before the one that the proxy added.
    for (let i = 0; i < 10; i++) {
      await ask(trusting, "/proxy/api/x", [
        `X-Forwarded-For: 10.0.0.${i}, ::ffff:198.51.100.7`,
        `x-api-key: ${guess()}`,
      ]);
    }
    expect(await ask(trusting, "/proxy/api/x", ["X-Forwarded-For: 198.51.100.7", good])).toBe(429);
    expect(await ask(trusting, "/proxy/api/x", ["X-Forwarded-For: 10.0.0.1", good])).toBe(200);

    const plain = await start();
    for (let i = 0; i < 10; i++) {
      await ask(plain, "/proxy/api/x", [`X-Forwarded-For: 192.0.2.${i}`, `x-api-key: ${guess()}`]);
    }
    expect(await ask(plain, "/proxy/api/x", ["X-Forwarded-For: 192.0.2.99", good])).toBe(429);
  });

  test("Pipelining allows no more than ten guesses", async () => {
    const gateway = await start();
    const one = () => `GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${guess()}\r\n\r\n`;
    const right = `GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`;
    const { text } = await rawRequest(gateway.port, Array.from({ length: 15 }, one).join("") + right);
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(6).fill(429)]);
  });
});
