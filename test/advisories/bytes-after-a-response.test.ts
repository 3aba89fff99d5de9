/** Response-queue poisoning: bytes that an upstream sends after its response must never become the response to another request. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

test.each([
  ["after its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"],
  ["after a 204", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["after a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"],
])("A complete response %s reaches no client, and the next request gets its own response", async (_, head) => {
  const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
  const upstream = await startRawUpstream((socket, received) => {
    const path = [...received.matchAll(/GET (\/\d)/g)].at(-1)?.[1];
    if (!received.endsWith("\r\n\r\n")) return;
    if (path === "/1") socket.write(`${head}${head.includes(" 200 ") ? path : ""}${evil}`);
    else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${path}`);
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  for (const path of ["/1", "/2", "/3"]) {
    client.write(`GET /proxy/api${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await eventually(() => (path === "/1" ? client.received.includes("\r\n\r\n") : client.received.endsWith(path)));
  }
  expect(client.received).not.toContain("EVIL");
});
