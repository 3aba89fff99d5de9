/**
 * Node re-encodes a Content-Disposition after a Content-Length (nodejs/node#46528) and then refuses its own bytes: the response to
 * a download with a file name that is not ASCII was 502.
 */
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const ask = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

describe("file name in Content-Disposition", () => {
  test.each([
    ["ISO 8859-1", "r\xe9sum\xe9.pdf"],
    ["UTF-8", Buffer.from("履歴書.pdf").toString("latin1")],
    ["an unknown encoding", "\xff\xfe\x80.pdf"],
  ])("A file name in %s arrives byte for byte, before and after Content-Length", async (_, name) => {
    const disposition = `attachment; filename="${name}"`;
    for (const headers of [
      `Content-Length: 2\r\nContent-Disposition: ${disposition}`,
      `Content-Disposition: ${disposition}\r\nContent-Length: 2`,
    ]) {
      const upstream = await startRawUpstream(
        respondWith(`HTTP/1.1 200 OK\r\n${headers}\r\nX-Name: ${name}\r\n\r\nok`),
      );
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      const response = await rawRequest(gateway.port, ask);
      expect([response.status, response.body]).toEqual([200, "ok"]);
      const lines = response.head.split("\r\n");
      expect(lines.filter((line) => line.toLowerCase().startsWith("content-disposition"))).toEqual([
        `content-disposition: ${disposition}`,
      ]);
      expect(lines).toContain(`x-name: ${name}`);
      expect(lines).toContain("content-length: 2");
    }
  });
});
