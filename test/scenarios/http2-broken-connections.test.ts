/** Connections over HTTP/2 whose client breaks the protocol while its requests are served. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { openSession, send } from "../support/http2-client.ts";
import { END_HEADERS, END_STREAM, FRAME, frame, get, openFrames, request } from "../support/http2-frames.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";

/** RFC 9113 section 5.4.1: each is an error of the connection. */
const ERRORS: readonly (readonly [string, Buffer])[] = [
  ["data on stream 0", frame(FRAME.data, { payload: Buffer.from("x") })],
  ["data on a stream that has ended", frame(FRAME.data, { stream: 1, payload: Buffer.from("x") })],
  ["settings of a wrong length", frame(FRAME.settings, { payload: Buffer.alloc(5) })],
  ["a window of 0 more bytes", frame(FRAME.windowUpdate, { payload: Buffer.alloc(4) })],
  [
    "fields that cannot be decoded",
    frame(FRAME.headers, {
      flags: END_HEADERS | END_STREAM,
      stream: 3,
      payload: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]),
    }),
  ],
];

test("Its requests are canceled and the connection is closed within seconds, not when the requests time out", async () => {
  const upstream = await startUpstream(() => {});
  const { gateway } = await startTlsGateway({
    // The connections are checked ten times within it.
    env: { SEND_TIMEOUT: "500" },
    services: { a: { baseUrl: upstream.url } },
  });
  for (const [what, error] of ERRORS) {
    const client = await openFrames(gateway.port);
    client.send(request(1, get("/proxy/a/")));
    await eventually(() => upstream.sockets.size === 1, "the request has reached the upstream");
    client.send(error);
    await eventually(() => client.isClosed, `the connection ends after ${what}`);
    await eventually(() => upstream.sockets.size === 0, `the request is canceled after ${what}`);
  }
  expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(ERRORS.map(() => "client-left"));
});

test("A client that is silent during a long request keeps its connection", async () => {
  const responses: (() => void)[] = [];
  const upstream = await startUpstream((_req, res) => void responses.push(() => res.end("late")));
  const { gateway } = await startTlsGateway({
    env: { SEND_TIMEOUT: "100" },
    services: { a: { baseUrl: upstream.url } },
  });
  const session = await openSession(gateway.url);
  let pings = 0;
  session.on("ping", () => pings++);
  const response = send(session, { ":path": "/proxy/a/" });
  await eventually(() => responses.length === 1);
  const client = await openFrames(gateway.port);
  client.send(request(1, get("/proxy/a/")));
  await eventually(() => responses.length === 2);
  // The second client does not even acknowledge it.
  await eventually(() => client.received.some(({ type }) => type === FRAME.ping), "the second client was checked");
  await eventually(() => pings > 1, "the first client was checked again after its acknowledgment");
  for (const respond of responses) respond();
  expect(String((await response).body)).toBe("late");
  await eventually(() => client.received.some(({ type }) => type === FRAME.data), "the response");
});
