/** `pathPolicy: raw` forwards dot segments for object stores; a path still cannot leave the base path. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findPathProblem } from "../../src/data-plane/path-problem.ts";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function start() {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const api = {
    baseUrl: `${upstream.url}/bucket`,
    versionedBaseUrls: { v9: `${upstream.url}/bucket/v9/` },
    pathPolicy: "raw" as const,
  };
  const gateway = await startGateway({ services: { api } });
  const ask = (path: string) =>
    rawRequest(gateway.port, `GET /proxy/api${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  return { upstream, ask };
}

describe("path with pathPolicy raw", () => {
  test.each([
    ["above a version's base, over the segment that selects it", "/v9/../x"],
    ["above a version's base, encoded", "/v9/%2e%2e/x"],
    ["above the base, where %2f is no separator to the upstream", "/a%2fb/../../x"],
    ["above the base, where a backslash is none", "/a\\b/../../x"],
    ["above the base, where it is one", "/a%5c..%5c..%5cx"],
    ["above the base, over empty segments", "/%2f/../x"],
    ["above the base, over a path parameter", "/;x/../y"],
    ["above the base, after a path parameter", "/a/..;x=1/..;y/b"],
  ])("A path is refused %s", async (_, path) => {
    const { upstream, ask } = await start();
    const response = await ask(path);
    expect(response.status).toBe(400);
    expect(response.head).toMatch(/^X-Proxy-Error: INVALID_PATH\r?$/m);
    expect(upstream.received).toEqual([]);
  });

  test.each([
    ["/v9/a/../b", "/bucket/v9/a/../b"],
    ["/v9/a/b/../../x", "/bucket/v9/a/b/../../x"],
    ["/a%2fb/c/../d", "/bucket/a%2fb/c/../d"],
    ["/./a/.", "/bucket/./a/."],
  ])("A path below the base arrives as it was sent: %s", async (path, expected) => {
    const { upstream, ask } = await start();
    expect((await ask(path)).status).toBe(200);
    expect(upstream.received[0]?.split(" ")[1]).toBe(expected);
  });

  test("An accepted path stays below the base for every kind of server: decoding or not, with one, two or three separators", () => {
    const piece = fc.constantFrom("/", "/", "..", "..", ".", "%2e", "%2f", "%5C", "\\", ";", "a", "b", "%61");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const path = `/${pieces.join("")}`;
        if (findPathProblem(path, "raw") !== undefined) return;
        for (const dots of [true, false]) {
          for (const separators of [/\//, /\/|%2f/i, /\/|\\/, /\/|\\|%5c/i, /\/|%2f|\\|%5c/i]) {
            for (const cutsParameters of [true, false]) {
              for (const mergesSlashes of [true, false]) {
                let depth = 0;
                for (const raw of path.split(separators).slice(1)) {
                  const decoded = dots ? raw.replace(/%2e/gi, ".") : raw;
                  const segment = cutsParameters ? decoded.replace(/;.*/, "") : decoded;
                  if (segment === "..") depth--;
                  else if (segment !== "." && !(mergesSlashes && segment === "")) depth++;
                  expect(depth, path).toBeGreaterThanOrEqual(0);
                }
              }
            }
          }
        }
      }),
      { numRuns: 3000 },
    );
  });
});
