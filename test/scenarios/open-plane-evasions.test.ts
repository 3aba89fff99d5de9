/** Attempts to evade the guards of an open plane: spellings of routes, hosts and headers. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function start(env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
  const ask = (headers: string, target = "/proxy/api/", version = "1.1", method = "GET") =>
    rawRequest(gateway.port, `${method} ${target} HTTP/${version}\r\n${headers}\r\nConnection: close\r\n\r\n`);
  return { upstream, ask };
}

const LOCAL = "Host: localhost\r\n";

describe("open plane", () => {
  test.each([
    ["a Host that only begins with a loopback address", "Host: 127.0.0.1.evil.example"],
    ["a Host that only ends with a loopback name", "Host: evil-localhost"],
    ["a Host with a loopback name before its port", "Host: evil.example:127"],
    ["an unspecified address", "Host: 0.0.0.0"],
    ["two Origins, one of them its own", `${LOCAL}Origin: http://localhost\r\nOrigin: https://evil.example`],
    ["an empty Origin", `${LOCAL}Origin:`],
    ["its own name under https", `${LOCAL}Origin: https://localhost`],
    ["its own name inside another Origin", `${LOCAL}Origin: http://localhost.evil.example`],
    ["two values of Sec-Fetch-Site", `${LOCAL}Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site`],
    ["Sec-Fetch-Site in capitals", `${LOCAL}Sec-Fetch-Site: CROSS-SITE`],
    ["a link on a foreign page", `${LOCAL}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate`],
    ["X-Forwarded-Anything, empty", `${LOCAL}X-Forwarded-Anything:`],
    ["an empty Via", `${LOCAL}Via:`],
  ])("An open plane refuses %s, on both planes", async (_, headers) => {
    const { upstream, ask } = await start();
    for (const target of ["/proxy/api/", "/proxy/services", "/manage/services", "/%6danage/services", "/manage"]) {
      const response = await ask(headers, target);
      expect(response.status, target).toBe(403);
      expect(response.head).toMatch(/^X-Proxy-Error: (HOST|ORIGIN)_NOT_ALLOWED\r?$/im);
    }
    expect(upstream.received).toEqual([]);
  });

  test.each(["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])(
    "An open plane refuses %s from a foreign page as it refuses GET",
    async (method) => {
      const { upstream, ask } = await start();
      expect((await ask(`${LOCAL}Origin: https://evil.example`, "/proxy/api/", "1.1", method)).status).toBe(403);
      expect(upstream.received).toEqual([]);
    },
  );

  test("An open plane refuses HTTP/1.0 without a Host, because there is no name to check", async () => {
    const { upstream, ask } = await start();
    expect((await ask("X-A: b", "/proxy/api/", "1.0")).status).toBe(403);
    expect(upstream.received).toEqual([]);
  });

  test("A key that only the other plane requires does not lift the guard of an open plane", async () => {
    const { upstream, ask } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY });
    const foreign = `Host: evil.example\r\nAuthorization: Bearer ${MANAGEMENT_KEY}`;
    expect((await ask(foreign)).status).toBe(403);
    expect((await ask(foreign, "/manage/x")).status).toBe(404);
    expect((await ask("Host: evil.example", "/manage/x")).status).toBe(401);
    expect(upstream.received).toEqual([]);
  });

  test("A refusal of an open plane names the variable to set and shows no configuration", async () => {
    const { ask } = await start();
    for (const [target, variable] of [
      ["/proxy/nope/../x", "PROXY_API_KEY"],
      ["/proxy/services", "PROXY_API_KEY"],
      ["/manage/services", "MANAGEMENT_API_KEY"],
    ] as const) {
      const body = JSON.parse((await ask(`${LOCAL}Forwarded: for=1.1.1.1`, target)).body) as Record<string, unknown>;
      expect(body).toMatchObject({ code: "HOST_NOT_ALLOWED", hint: expect.stringContaining(variable) });
      expect(body).not.toHaveProperty("availableServices");
    }
  });
});
