/** HTTP/2 and the limits of the listener: connections over a cap, the end of the gateway, and a reload. */
import { connect as connectHttp2, constants } from "node:http2";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { openSession, responseOf, send } from "../support/http2-client.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";

test("A connection over MAX_CONNECTIONS gets the response to one request, which says so, and then ends", async () => {
  const upstream = await startUpstream();
  const { gateway } = await startTlsGateway({
    env: { MAX_CONNECTIONS: "1" },
    services: { a: { baseUrl: upstream.url } },
  });
  const first = await openSession(gateway.url);
  expect((await send(first, { ":path": "/proxy/a/" })).status).toBe(200);
  for (const [path, status] of [
    ["/proxy/a/", 503],
    ["/health", 200],
  ] as const) {
    const second = await openSession(gateway.url);
    const closed = new Promise((resolve) => second.once("close", resolve));
    expect((await send(second, { ":path": path })).status).toBe(status);
    await closed;
  }
  expect((await send(first, { ":path": "/proxy/a/" })).status).toBe(200);
});

test("MAX_IN_FLIGHT counts the streams of one connection", async () => {
  const upstream = await startUpstream(() => {});
  const { gateway } = await startTlsGateway({
    env: { MAX_IN_FLIGHT: "2" },
    services: { a: { baseUrl: upstream.url } },
  });
  const session = await openSession(gateway.url);
  const streams = [1, 2].map(() => session.request({ ":path": "/proxy/a/" }));
  await eventually(() => upstream.requests.length === 2);
  expect((await send(session, { ":path": "/proxy/a/" })).headers["x-proxy-error"]).toBe("UNDER_PRESSURE");
  for (const stream of streams) {
    stream.on("error", () => {});
    stream.close(constants.NGHTTP2_CANCEL);
  }
  await eventually(() => gateway.exchanges().length === 3);
  const again = session.request({ ":path": "/proxy/a/" });
  again.on("error", () => {});
  await eventually(() => upstream.requests.length === 3);
});

test("A drain announces itself at once, serves what comes meanwhile, ends streams in flight and cuts none", async () => {
  const upstream = await startUpstream((req, res) => {
    if (req.url === "/slow") setTimeout(() => res.end("slow"), 300);
    else res.end("fast");
  });
  const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
  const session = await openSession(gateway.url);
  const idle = await openSession(gateway.url);
  const slow = session.request({ ":path": "/proxy/a/slow" });
  await eventually(() => upstream.requests.length === 1);
  const announced = new Promise((resolve) => session.once("goaway", resolve));
  const closed = Promise.all([session, idle].map((each) => new Promise((resolve) => each.once("close", resolve))));
  const ended = gateway.drain(100, 3_000);
  expect(await announced).toBe(constants.NGHTTP2_NO_ERROR);
  expect(String((await responseOf(slow)).body)).toBe("slow");
  expect(await ended).toBe(0);
  await closed;
});

test("A client whose handshake ends after the listener learns of it with its first request, which is served", async () => {
  const upstream = await startUpstream();
  const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
  const socket = connectTcp(gateway.port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const idle = await openSession(gateway.url);
  const stopped = new Promise((resolve) => idle.once("close", resolve));
  const ended = gateway.drain(0, 5_000);
  await stopped;
  const secured = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  const session = connectHttp2(gateway.url, { createConnection: () => secured });
  const announced = new Promise((resolve) => session.once("goaway", resolve));
  expect((await send(session, { ":path": "/proxy/a/" })).status).toBe(200);
  expect(await announced).toBe(constants.NGHTTP2_NO_ERROR);
  expect(await ended).toBe(0);
});

test("A stream that does not end within SHUTDOWN_TIMEOUT is cut, counted and logged as such", async () => {
  const upstream = await startUpstream(() => {});
  const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
  const session = await openSession(gateway.url);
  const stream = session.request({ ":path": "/proxy/a/" });
  stream.on("error", () => {});
  await eventually(() => upstream.requests.length === 1);
  expect(await gateway.drain(0, 100)).toBe(1);
  expect(gateway.exchanges().at(-1)).toMatchObject({ status: 503, outcome: "failed:SHUTTING_DOWN" });
});

test("An event stream of the control plane passes events and ends with the drain", async () => {
  const { gateway } = await startTlsGateway();
  const session = await openSession(gateway.url);
  const stream = session.request({ ":path": "/manage/events" });
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  await eventually(() => text.startsWith(":"));
  await send(session, { ":path": "/proxy/none/" });
  await eventually(() => text.includes("event: request"));
  const ended = gateway.drain(0, 3_000);
  await eventually(() => text.includes('{"reason":"draining"}'));
  expect(await ended).toBe(0);
});

test("A reload leaves connections and their streams alone", async () => {
  let respond = () => {};
  const upstream = await startUpstream((_req, res) => {
    respond = () => res.end("done");
  });
  const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
  const session = await openSession(gateway.url);
  const stream = session.request({ ":path": "/proxy/a/" });
  await eventually(() => upstream.requests.length === 1);
  await gateway.reload();
  respond();
  expect(String((await responseOf(stream)).body)).toBe("done");
  expect((await send(session, { ":path": "/health" })).status).toBe(200);
});
