/** Interim responses (1xx) of an upstream: which of them reach a client, and with which headers. */
import { get } from "node:http";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const FINAL = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
const request = (version = "1.1", method = "GET") =>
  `${method} /proxy/api/x HTTP/${version}\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`;

async function askFor(bytes: string, service: object = {}, sent = request()) {
  const upstream = await startRawUpstream(respondWith(bytes));
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url, ...service } },
  });
  const { text } = await rawRequest(gateway.port, sent);
  return { text, statuses: text.match(/^HTTP\/1\.[01] \d{3}/gm)?.map((line) => Number(line.slice(9))) };
}

test.each(["GET", "HEAD", "POST"])("102 and 103 are relayed before the response to a %s", async (method) => {
  const { statuses } = await askFor(`HTTP/1.1 102 Processing\r\n\r\n${HINTS}${FINAL}`, {}, request("1.1", method));
  expect(statuses).toEqual([102, 103, 200]);
});

test("An interim response leaves the gateway before the response arrives", async () => {
  const upstream = await startRawUpstream(respondWith(HINTS));
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url } },
  });
  const client = await openSocket(gateway.port);
  client.write(request());
  await eventually(() => client.received.includes("\r\n\r\n"), "the interim response");
  expect(client.received).toMatch(/^HTTP\/1\.1 103 Early Hints\r\n/);
  client.destroy();
});

test("An interim response has the upstream's headers under the rules of a final response", async () => {
  const { text } = await askFor(
    "HTTP/1.1 103 X\r\nLink: </style.css>; rel=preload, </b>; rel=next\r\nSet-Cookie: a=1\r\nX-Proxy-Service: forged\r\n" +
      `Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\nAccess-Control-Allow-Origin: *\r\nX-Own: \xe9\r\n\r\n${FINAL}`,
  );
  const interim = text.slice(0, text.indexOf("\r\n\r\n")).toLowerCase();
  expect(interim).toContain(
    "\r\nlink: <http://localhost/proxy/api/style.css>; rel=preload, <http://localhost/proxy/api/b>; rel=next",
  );
  expect(interim).toContain("\r\nx-own: \xe9");
  expect(interim).not.toMatch(/set-cookie|x-proxy|connection|x-hop|content-length|access-control/);
});

test("A client of HTTP/1.0 gets no interim response", async () => {
  expect((await askFor(HINTS + FINAL, {}, request("1.0"))).statuses).toEqual([200]);
});

test("interim: drop keeps interim responses from clients", async () => {
  expect((await askFor(HINTS + FINAL, { interim: "drop" })).statuses).toEqual([200]);
});

test("Interim responses do not extend timeoutMs", async () => {
  const upstream = await startRawUpstream((socket) => {
    const timer = setInterval(() => socket.write(HINTS), 20);
    socket.once("close", () => clearInterval(timer));
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url, timeoutMs: 200, retries: 0 } },
  });
  const startedAt = performance.now();
  const { text } = await rawRequest(gateway.port, request());
  expect(text).toMatch(/HTTP\/1\.1 504 [\s\S]*UPSTREAM_TIMEOUT/);
  expect(performance.now() - startedAt).toBeLessThan(1_500);
});

test("A client that does not read gets no more interim responses than its socket takes", async () => {
  let isSent = false;
  const lines = HINTS.replace("Link", `X-Filler: ${"a".repeat(8_000)}\r\nLink`);
  const upstream = await startRawUpstream((socket) => {
    for (let i = 0; i < 4_000; i++) socket.write(lines);
    socket.write(FINAL, () => {
      isSent = true;
    });
  });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url } },
  });
  const client = await openSocket(gateway.port);
  client.pause();
  client.write(request());
  await eventually(() => isSent, "the last of the interim responses", 10_000);
  client.resume();
  await eventually(() => client.received.endsWith("ok"), "the response");
  expect(client.received.length).toBeLessThan(20_000_000);
});

test("A client of node:http receives the interim response and then the response", async () => {
  const upstream = await startRawUpstream(respondWith(HINTS + FINAL));
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY },
    services: { api: { baseUrl: upstream.url } },
  });
  const seen: unknown[] = [];
  await new Promise<void>((resolve) => {
    const req = get(
      { port: gateway.port, path: "/proxy/api/x", agent: false, headers: { "x-api-key": PROXY_KEY } },
      (res) => {
        seen.push(res.statusCode);
        res.resume().once("end", resolve);
      },
    );
    req.on("information", ({ statusCode }) => seen.push(statusCode));
  });
  expect(seen).toEqual([103, 200]);
});
