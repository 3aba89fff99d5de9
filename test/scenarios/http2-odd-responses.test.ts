/** Responses of upstreams that HTTP/1.1 can carry and HTTP/2 cannot, to a client that uses HTTP/2. */
import { expect, test } from "vitest";
import { openSession, send } from "../support/http2-client.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startRawUpstream } from "../support/upstream.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const RESPONSES: Readonly<Record<string, string>> = {
  "600": "HTTP/1.1 600 Own\r\nContent-Length: 2\r\n\r\nok",
  "999": "HTTP/1.1 999 Own\r\nContent-Length: 2\r\n\r\n",
  "204": "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
  "205": "HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello",
  "304": "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
  "103": `HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </a>\r\n\r\n${OK}`,
};

async function startOdd() {
  const upstream = await startRawUpstream((socket, received) => {
    socket.end(RESPONSES[/ \/(\d+) /.exec(received)?.[1] ?? ""]);
  });
  const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
  return { gateway, session: await openSession(gateway.url) };
}

test("A status that HTTP/2 cannot carry is a 502, and neither the connection nor the gateway ends", async () => {
  const { gateway, session } = await startOdd();
  for (const path of ["600", "999"]) {
    const { status, headers } = await send(session, { ":path": `/proxy/a/${path}` });
    expect([status, headers["x-proxy-error"]]).toEqual([502, "UPSTREAM_PROTOCOL_ERROR"]);
  }
  expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(Array(2).fill("failed:UPSTREAM_PROTOCOL_ERROR"));
});

test("A length on a response that has no content is removed, because clients reset a stream for it", async () => {
  const { session } = await startOdd();
  const results = [];
  for (const path of ["204", "205", "304", "103"]) {
    const { status, headers, reset, body, interim } = await send(session, { ":path": `/proxy/a/${path}` });
    results.push([status, reset, headers["content-length"], String(body), interim.length]);
  }
  expect(results).toEqual([
    [204, 0, undefined, "", 0],
    [205, 0, undefined, "", 0],
    [304, 0, "5", "", 0],
    [200, 0, "2", "ok", 1],
  ]);
});
