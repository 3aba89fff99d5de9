/** Behind a proxy that is trusted: who the client is, in every form in which balancers write it. A3 and H13. */
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { answering, startRawUpstream } from "../support/upstream.ts";

async function start() {
  const upstream = await startRawUpstream(answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const rateLimit = { maxRequests: 1, windowMs: 60_000, per: "ip" as const };
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, TRUST_PROXY: "127.0.0.1" },
    services: { api: { baseUrl: upstream.url, forwardedHeaders: true, rateLimit } },
  });
  const ask = (forwardedFor: string) =>
    rawRequest(
      gateway.port,
      `GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\nX-Forwarded-For: ${forwardedFor}\r\nConnection: close\r\n\r\n`,
    );
  return { upstream, gateway, ask };
}

describe("a client behind a trusted proxy", () => {
  test.each([
    ["9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["9.9.9.9:51234", "9.9.9.9", "9.9.9.9"],
    ["::ffff:9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["1.1.1.1, 9.9.9.9", "9.9.9.9", "9.9.9.9"],
    ["2001:db8::1", "2001:db8::1", '"[2001:db8::1]"'],
    ["[2001:db8::1]:51234", "2001:db8::1", '"[2001:db8::1]"'],
    ['"[2001:db8::1]:51234"', "2001:db8::1", '"[2001:db8::1]"'],
    // No address: the proxy itself is all that is known.
    ["unknown", "127.0.0.1", "127.0.0.1"],
    ["009.9.9.9", "127.0.0.1", "127.0.0.1"],
    ['a";host="evil', "127.0.0.1", "127.0.0.1"],
    ["", "127.0.0.1", "127.0.0.1"],
  ])("that it calls %s is known as %s", async (forwardedFor, client, node) => {
    const { upstream, gateway, ask } = await start();
    expect((await ask(forwardedFor)).status).toBe(200);
    expect(upstream.received[0]).toContain(`\r\nX-Forwarded-For: ${client}\r\n`);
    expect(upstream.received[0]).toContain(`\r\nForwarded: for=${node};host="localhost";proto=http\r\n`);
    expect(gateway.exchanges()[0]?.client).toBe(client);
  });

  test("has one bucket, whatever port or spelling the proxy hands on", async () => {
    const { upstream, ask } = await start();
    const statuses = [];
    for (const each of ["9.9.9.9:1", "9.9.9.9:2", "::ffff:9.9.9.9", "8.8.8.8, 9.9.9.9"]) {
      statuses.push((await ask(each)).status);
    }
    expect(statuses).toEqual([200, 429, 429, 429]);
    expect(upstream.received).toHaveLength(1);
  });
});
