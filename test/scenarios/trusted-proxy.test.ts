/** The client's address behind a trusted proxy, in every form in which load balancers write it. */
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function start(trusted = "127.0.0.1", location = "") {
  const upstream = await startRawUpstream(respondWith(`HTTP/1.1 200 OK\r\n${location}Content-Length: 2\r\n\r\nok`));
  const rateLimit = { maxRequests: 1, windowMs: 60_000, per: "ip" as const };
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, TRUST_PROXY: trusted },
    services: { api: { baseUrl: upstream.url, forwardedHeaders: true, rateLimit } },
  });
  const ask = (forwardedFor: string, more = "") =>
    rawRequest(
      gateway.port,
      `GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\nX-Forwarded-For: ${forwardedFor}\r\n${more}Connection: close\r\n\r\n`,
    );
  return { upstream, gateway, ask };
}

describe("client of a trusted proxy", () => {
  test.each([
    ["9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["9.9.9.9:51234", "9.9.9.9", "9.9.9.9"],
    ["::ffff:9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["1.1.1.1, 9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["2001:db8::1", "2001:db8::1", '"[2001:db8::1]"'],
    ["[2001:db8::1]:51234", "2001:db8::1", '"[2001:db8::1]"'],
    ['"[2001:db8::1]:51234"', "2001:db8::1", '"[2001:db8::1]"'],
    // Not an address: only the proxy is known.
    ["unknown", "127.0.0.1", "127.0.0.1"],
    ["009.9.9.9", "127.0.0.1", "127.0.0.1"],
    ['a";host="evil', "127.0.0.1", "127.0.0.1"],
    ["", "127.0.0.1", "127.0.0.1"],
  ])("A client that a trusted proxy names as %j has the address %s", async (forwardedFor, client, node) => {
    const { upstream, gateway, ask } = await start();
    expect((await ask(forwardedFor)).status).toBe(200);
    expect(upstream.received[0]).toContain(`\r\nX-Forwarded-For: ${client}\r\n`);
    expect(upstream.received[0]).toContain(`\r\nForwarded: for=${node};host="localhost";proto=http\r\n`);
    expect(gateway.exchanges()[0]?.client).toBe(client);
  });

  test.each([
    ["127.0.0.1", "https://app.example"],
    ["10.0.0.0/8", "http://localhost"],
  ])("The public URL has the host and the protocol that a proxy in %s forwards: %s", async (trusted, base) => {
    const { upstream, ask } = await start(trusted, "Location: /next\r\n");
    const response = await ask("9.9.9.9", "X-Forwarded-Host: app.example\r\nX-Forwarded-Proto: https\r\n");
    expect(response.head).toContain(`\r\nlocation: ${base}/proxy/api/next\r\n`);
    const { host, protocol } = new URL(base);
    expect(upstream.received[0]).toContain(
      `\r\nX-Forwarded-Proto: ${protocol.slice(0, -1)}\r\nX-Forwarded-Host: ${host}\r\n`,
    );
  });

  test("A client has one rate-limit counter for any port or spelling of its address that the proxy forwards", async () => {
    const { upstream, ask } = await start();
    const statuses = [];
    for (const each of ["9.9.9.9:1", "9.9.9.9:2", "::ffff:9.9.9.9", "8.8.8.8, 9.9.9.9"]) {
      statuses.push((await ask(each)).status);
    }
    expect(statuses).toEqual([200, 429, 429, 429]);
    expect(upstream.received).toHaveLength(1);
  });
});
