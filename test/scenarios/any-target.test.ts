/** Hostile request targets, generated at random, over real sockets. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const piece = fc.constantFrom(
  ...[
    "/",
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    ";x=1",
    "%00",
    "%0d%0a",
    "%",
    "%zz",
    "%252e",
  ],
  ...["?", "&", "=", "#", "@", ":", "*", "~", "^", "[", "]", "{", "}", "|", '"', "<", ">", "'", "+", "%20", "%C3%A9"],
  ...["api", "API", "a%70i", "echo", "__proto__", "constructor", "services", "auth-test", "manage", "proxy", "health"],
  ...["api_key", "%61pi_key", "localhost", "http://", "x"],
);
const target = fc
  .tuple(
    fc.constantFrom("/proxy/api/", "/proxy/api/", "/proxy/api", "/proxy/", "/proxy", "/", "", "//localhost/proxy/api/"),
    fc.array(piece, { maxLength: 8 }),
  )
  .map(([start, pieces]) => start + pieces.join(""));

/** The target that the upstream has to receive: what follows the service's key, byte for byte, without the parameter of the caller's key. */
function expectedPath(sent: string): string {
  const [, path, query] = /^\/proxy\/api([^?]*)(\?.*)?$/s.exec(sent) as unknown as [string, string, string | undefined];
  if (query === undefined) return `/base${path}`;
  const kept = query
    .slice(1)
    .split("&")
    .filter((parameter) => parameter.split("=")[0]?.replace("%61", "a") !== "api_key");
  return kept.length === 0 ? `/base${path}` : `/base${path}?${kept.join("&")}`;
}

test("Every request target is either refused in the gateway's error form or reaches the upstream below the service's base, as it was sent", async () => {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ services: { api: { baseUrl: `${upstream.url}/base` } } });
  let seen = 0;
  await fc.assert(
    fc.asyncProperty(target, async (sent) => {
      const response = await rawRequest(
        gateway.port,
        `GET ${sent} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      );
      expect(response.end, sent).toBe("fin");
      expect(response.status, sent).toBeGreaterThanOrEqual(200);
      expect(response.status, sent).toBeLessThan(500);
      const received = upstream.received.join("").match(/(?<=^GET )[^\r\n]*(?= HTTP\/1\.1\r$)/gm) ?? [];
      const arrived = received.slice(seen);
      seen = received.length;
      if (arrived.length > 0) {
        expect(arrived).toEqual([expectedPath(sent)]);
        expect(arrived[0]?.split("?")[0]).not.toMatch(/(^|[/\\]|%2f|%5c)(\.|%2e){1,2}($|[/\\;]|%2f|%5c|%3b)/i);
      } else if (response.status >= 400) {
        expect(response.head, sent).toMatch(/^X-Proxy-Error: [A-Z_]+\r?$/im);
        expect(JSON.parse(response.body)).toMatchObject({ status: response.status, requestId: expect.any(String) });
      }
    }),
    { numRuns: 400 },
  );
  expect(seen).toBeGreaterThan(20);
});
