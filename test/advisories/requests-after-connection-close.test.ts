/**
 * A server that has sent `Connection: close` must not process requests that still arrive (RFC 9112 section 9.6): no client can get
 * the response, so it would repeat a processed request, and a desync in a proxy in front would become a request.
 */
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const SMUGGLED = "POST /proxy/api/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

async function start() {
  const upstream = await startUpstream();
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxBodyBytes: 10 } } });
  return { upstream, gateway };
}

test.each([
  ["a Host that is none", "GET /proxy/api/ HTTP/1.1\r\nHost: a b\r\n\r\n"],
  ["no Host", "GET /proxy/api/ HTTP/1.1\r\n\r\n"],
  ["a fragment", "GET /proxy/api/#x HTTP/1.1\r\nHost: localhost\r\n\r\n"],
  ["a fragment on the control plane", "GET /x#y HTTP/1.1\r\nHost: localhost\r\n\r\n"],
  ["another upgrade", "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  ["a WebSocket", "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
])("No request after one with %s is processed", async (_, first) => {
  const { upstream, gateway } = await start();
  const response = await rawRequest(gateway.port, first + SMUGGLED);
  expect(response.text.match(/HTTP\/1\.1 \d{3}/g)).toHaveLength(1);
  expect(response.end).toBe("fin");
  expect(upstream.requests.map((req) => req.url)).not.toContain("/smuggled");
});

test.each(["in the same packet", "after the refusal"])(
  "No request after a refused upload is processed, sent %s",
  async (when) => {
    const { upstream, gateway } = await start();
    // The client continues to send after the gateway's FIN.
    const client = connect({ port: gateway.port, host: "127.0.0.1", allowHalfOpen: true });
    onTestFinished(() => void client.destroy());
    let received = "";
    client.on("error", () => {});
    client.on("data", (chunk) => {
      received += chunk;
    });
    const body = "a".repeat(100_000);
    client.write(`POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`);
    if (when === "after the refusal") await eventually(() => received.includes("PAYLOAD_TOO_LARGE"));
    client.write(body + SMUGGLED);
    await eventually(() => received.includes("PAYLOAD_TOO_LARGE"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(upstream.requests).toEqual([]);
    expect(received.match(/HTTP\/1\.1 \d{3}/g)).toEqual(["HTTP/1.1 413"]);
  },
);
