/** Links that the gateway must not rewrite, compared byte for byte. */
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

async function linesFor(headers: (origin: string) => string[], service: Record<string, unknown> = {}) {
  const upstream = await startUpstream((req, res) => {
    res.writeHead(302, headers(`http://${req.headers.host}`));
    res.end();
  });
  const versionedBaseUrls = { v9: `${upstream.url}/api/v9/` };
  const api = { baseUrl: `${upstream.url}/base`, versionedBaseUrls, ...service };
  const gateway = await startGateway({ services: { api } });
  const response = await rawRequest(
    gateway.port,
    "GET /proxy/api/ HTTP/1.1\r\nHost: gw.localhost:99\r\nConnection: close\r\n\r\n",
  );
  return { lines: response.head.split("\r\n"), origin: upstream.url };
}

describe("link", () => {
  test("With rewriteLinks off every link is unchanged, including a path without a host", async () => {
    for (const value of ["/base/x", "/login", "//other/x", "x?y", "http://["]) {
      const { lines } = await linesFor(() => ["Location", value, "Link", `<${value}>; rel=a`], { rewriteLinks: false });
      expect(lines).toContain(`location: ${value}`);
      expect(lines).toContain(`link: <${value}>; rel=a`);
    }
  });

  test.each([
    ["http://user@ORIGIN/base/x"],
    ["http://ORIGIN.evil.example/base/x"],
    ["https://ORIGIN/base/x"],
    ["http://ORIGIN/basement"],
    ["http://ORIGIN/base/../admin"],
    ["http://ORIGIN/base/%2E%2e/admin"],
    ["http://ORIGIN\\@evil.example/base/"],
    ["ftp://ORIGIN/base/"],
    ["javascript:alert(1)"],
    ["data:,/base/x"],
  ])("The link %s, which does not lead below the base, is unchanged", async (template) => {
    const value = (origin: string) => template.replace("ORIGIN", origin.slice("http://".length));
    const { lines, origin } = await linesFor((own) => ["Location", value(own)]);
    expect(lines).toContain(`location: ${value(origin)}`);
  });

  test("A link to a version's base leads to that version, under the Host that the client used for the gateway", async () => {
    const { lines } = await linesFor((origin) => ["Location", `${origin}/api/v9/a//b%2F?c=<d>#e`, "Link", "</api/v9>"]);
    expect(lines).toContain("location: http://gw.localhost:99/proxy/api/v9/a//b%2F?c=<d>#e");
    expect(lines).toContain("link: <http://gw.localhost:99/proxy/api/v9>");
  });

  test("Several Link lines stay several lines, each rewritten separately", async () => {
    const { lines } = await linesFor((origin) => [
      "Link",
      `<${origin}/base/1>; rel="a"`,
      "Link",
      "</base/2>; rel=b, <3>",
    ]);
    expect(lines.filter((line) => line.startsWith("link: "))).toEqual([
      'link: <http://gw.localhost:99/proxy/api/1>; rel="a"',
      "link: <http://gw.localhost:99/proxy/api/2>; rel=b, <3>",
    ]);
  });
});
