/** The end of a gateway: what is in flight is finished, what is not does not hold it up. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

test("a connection that has sent nothing yet does not hold up the end, nor counts as cut", async () => {
  const gateway = await startGateway();
  const client = await openSocket(gateway.port);
  const startedAt = performance.now();
  expect(await gateway.drain(0, 5_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  await eventually(() => client.destroyed);
});

test("an idle connection that has been used is closed at once", async () => {
  const gateway = await startGateway();
  const client = await openSocket(gateway.port);
  client.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => client.received.includes('"ok"'));
  const startedAt = performance.now();
  expect(await gateway.drain(0, 5_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

test("both planes say Connection: close while they still serve", async () => {
  const gateway = await startGateway();
  const drained = gateway.drain(300, 1_000);
  for (const path of ["/health", "/health/ready", "/nowhere", "/proxy/echo/", "/proxy/nowhere/"]) {
    const answer = await rawRequest(gateway.port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(answer.head).toMatch(/^Connection: close$/im);
    expect(answer.end).toBe("fin");
  }
  expect(await drained).toBe(0);
});

test("an upload and an answer in flight are finished, and counted when they cannot be", async () => {
  const upstream = await startUpstream((req, res) => {
    req.on("data", () => {});
    req.on("end", () => res.end("taken"));
  });
  for (const finishes of [true, false]) {
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write("POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    await eventually(() => upstream.sockets.size > 0);
    const drained = gateway.drain(0, finishes ? 3_000 : 100);
    if (finishes) client.write("cd");
    expect(await drained).toBe(finishes ? 0 : 1);
    expect(client.received.includes("taken")).toBe(finishes);
  }
});
