/** A recipient that merges trailers into headers would accept after a body what the gateway removes or rewrites before it. */
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

test("Trailers add no header that the gateway removes, rewrites, or uses for framing", async () => {
  const forged = [
    ...["X-Proxy-Error", "X-Proxy-Service", "Set-Cookie", "Location", "Content-Length", "Transfer-Encoding"],
    ...["Content-Encoding", "Connection", "Access-Control-Allow-Origin", "Alt-Svc", "Trailer"],
  ];
  const trailers = forged.map((name) => `${name}: forged\r\n`).join("");
  const upstream = await startRawUpstream(
    respondWith(
      `HTTP/1.1 200 OK\r\nTrailer: ${forged.slice(0, 4).join(", ")}, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `2\r\nok\r\n0\r\n${trailers.replace(/(?:Content-Length|Transfer-Encoding): forged\r\n/g, "")}X-Sum: 7\r\n\r\n`,
    ),
  );
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const response = await rawRequest(
    gateway.port,
    "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close\r\n\r\n",
  );
  expect(response.head).toMatch(/^Trailer: X-Sum$/m);
  expect(response.body).toBe("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n");
});
