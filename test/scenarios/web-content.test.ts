/** Upstreams and the gateway share one origin in a browser: what keeps their pages apart. */
import { describe, expect, test } from "vitest";
import { ORIGIN_WIDE } from "../../src/data-plane/forward/web-content.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

async function send(head: string, service: Record<string, unknown> = {}, line = "", query = "") {
  const upstream = await startRawUpstream(respondWith(`HTTP/1.1 ${head}\r\nContent-Length: 0\r\n\r\n`));
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, ...service } } });
  const response = await rawRequest(
    gateway.port,
    `GET /proxy/api/${query} HTTP/1.1\r\nHost: localhost\r\n${line}Connection: close\r\n\r\n`,
  );
  const valuesOf = (name: string) =>
    response.head.split("\r\n").flatMap((each) => {
      const [found = "", ...value] = each.split(": ");
      return found.toLowerCase() === name ? [value.join(": ")] : [];
    });
  return { ...response, valuesOf, upstream };
}

const EVERYTHING = ORIGIN_WIDE.map((name) => `${name.toUpperCase()}: x`).join("\r\n");

describe("webContent: isolate", () => {
  test("No header that acts on the whole origin is relayed, and no browser guesses a type", async () => {
    const { head, valuesOf } = await send(
      `200 OK\r\n${EVERYTHING}\r\nX-Content-Type-Options: off\r\nContent-Type: application/json`,
    );
    for (const name of ORIGIN_WIDE) expect(head.toLowerCase()).not.toContain(`\n${name}:`);
    expect(valuesOf("x-content-type-options")).toEqual(["nosniff"]);
    expect(valuesOf("content-security-policy")).toEqual([]);
  });

  test.each([
    ["Content-Type: text/html"],
    ["content-type: TEXT/HTML ; charset=utf-8"],
    ["Content-Type: image/svg+xml"],
    ["Content-Type: text/xml"],
    ["Content-Type: application/xhtml+xml"],
    ["Content-Type: application/vnd.api+xml"],
    ["Content-Type: application/rss+xml;charset=utf-8"],
    ["Content-Type: text/xsl"],
    ["Content-Type: text/rdf"],
    ["Content-Type: application/x-mht"],
    ["Content-Type: multipart/x-mixed-replace; boundary=x"],
    ["Content-Type: message/rfc822"],
    ["Content-Type: application/json, text/html"],
    ['Content-Type: text/plain;x="a,text/html"'],
    ["Content-Type: application/json\r\nContent-Type: text/html"],
    ["Content-Type: */*"],
    ["Content-Type: unknown/unknown"],
    ["Content-Type: html"],
    ["Content-Type: text /html"],
    ["Content-Type:"],
    ["X-Nothing: here"],
    ["Content-Type: application/json\r\nContent-Security-Policy: default-src *"],
    ["Content-Type: application/json\r\nConnection: content-type"],
  ])("A response that a browser may show as a page gets a sandbox: %j", async (lines) => {
    const { valuesOf } = await send(`200 OK\r\n${lines}`);
    expect(valuesOf("content-security-policy").at(-1)).toBe("sandbox");
  });

  test.each([
    ["application/json"],
    ["Application/JSON; charset=utf-8"],
    ["application/vnd.github+json"],
    ["text/event-stream"],
    ["text/plain; charset=iso-8859-1"],
    ["image/png"],
    ["application/octet-stream"],
    ["text/javascript"],
    ["application/x-ndjson"],
    ["video/mp4"],
  ])("A response of type %s gets no sandbox", async (type) => {
    expect((await send(`200 OK\r\nContent-Type: ${type}`)).valuesOf("content-security-policy")).toEqual([]);
  });

  test("The sandbox is added to the upstream's policies, and to the 304 that replaces them in a cache", async () => {
    const policies =
      "Content-Security-Policy: default-src 'self'\r\nContent-Security-Policy: img-src *, sandbox allow-scripts";
    for (const status of ["200 OK", "304 Not Modified", "404 Not Found"]) {
      const { valuesOf } = await send(`${status}\r\nContent-Type: application/json\r\n${policies}`);
      expect(valuesOf("content-security-policy")).toEqual([
        "default-src 'self'",
        "img-src *, sandbox allow-scripts",
        "sandbox",
      ]);
    }
  });

  test("A page whose URL contains a key loads nothing, and neither a referrer nor a report shows the URL to another host", async () => {
    const policy = "default-src 'self'; Report-URI https://evil.test/r; report-to x,img-src *;report-uri /x";
    const lines = [
      "Content-Type: text/plain",
      "Referrer-Policy: unsafe-url",
      `Content-Security-Policy: ${policy}`,
      "Content-Security-Policy-Report-Only: img-src 'none'; report-uri https://evil.test/r",
    ];
    const head = `200 OK\r\n${lines.join("\r\n")}`;
    const { valuesOf, upstream } = await send(head, {}, "", "?a=1&api_key=key-of-a-caller-0123456789");
    expect(upstream.received.join()).toContain("GET /?a=1 HTTP");
    const [own, added, ...more] = valuesOf("content-security-policy");
    expect(own?.replace(/[\s;]+/g, " ")).toBe("default-src 'self' ,img-src * ");
    expect(added).toMatch(/^sandbox; default-src 'none'; /);
    expect(more).toEqual([]);
    expect(valuesOf("content-security-policy-report-only")).toEqual([]);
    expect(valuesOf("referrer-policy")).toEqual(["no-referrer"]);
    // The URL of any other request is what the upstream has received.
    const other = await send(head);
    expect(other.valuesOf("referrer-policy")).toEqual(["unsafe-url"]);
    expect(other.valuesOf("content-security-policy")).toEqual([policy, "sandbox"]);
    const early = `103 Early Hints\r\nLink: <https://evil.test/>; rel=preload\r\n\r\nHTTP/1.1 ${head}`;
    expect((await send(early)).head).toContain("Early Hints");
    expect((await send(early, {}, "", "?api_key=key-of-a-caller-0123456789")).text).not.toContain("evil.test/>");
  });

  test("A key in the parameter of the service's own credential, or in any other, is a key in the URL", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY, SECRET: "secret-of-the-upstream" },
      services: {
        api: { baseUrl: upstream.url, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "SECRET" } },
      },
    });
    const ask = async (query: string, headers: Record<string, string> = {}) =>
      (await fetch(`${gateway.url}/proxy/api/x?${query}`, { headers })).headers.get("referrer-policy");
    expect(await ask(`key=${PROXY_KEY}`)).toBe("no-referrer");
    expect(await ask(`a=1&b=${PROXY_KEY}`, { "x-api-key": PROXY_KEY })).toBe("no-referrer");
    expect(await ask("a=1&b=2", { "x-api-key": PROXY_KEY })).toBe(null);
  });

  test("A header that a server in front of the gateway would obey is never relayed", async () => {
    const lines = ["X-Accel-Redirect: /secret", "X-Sendfile: /etc/passwd", "Set-Cookie2: a=1", "Alternate-Protocol: 1"];
    for (const webContent of ["isolate", "pass"]) {
      const { head } = await send(`200 OK\r\n${lines.join("\r\n")}\r\nX-Accel-Buffering: no`, { webContent });
      expect(head).not.toMatch(/x-accel-redirect|sendfile|cookie2|alternate/i);
      expect(head).toMatch(/^x-accel-buffering: no$/im);
    }
  });
});

test("With webContent: pass the headers of a page are relayed as they are", async () => {
  const { head, valuesOf } = await send(`200 OK\r\n${EVERYTHING}\r\nContent-Type: text/html`, { webContent: "pass" });
  for (const name of ORIGIN_WIDE) expect(head.toLowerCase()).toContain(`\n${name}: x`);
  expect([...valuesOf("x-content-type-options"), ...valuesOf("content-security-policy")]).toEqual([]);
});

test("An interim response carries no header that acts on the whole origin", async () => {
  const early = `HTTP/1.1 103 Early Hints\r\n${EVERYTHING}\r\nLink: </a.css>; rel=preload\r\n\r\n`;
  const upstream = await startRawUpstream(respondWith(`${early}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`));
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const request = "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  const { head } = await rawRequest(gateway.port, request);
  expect(head).toContain("103 Early Hints");
  for (const name of ORIGIN_WIDE) expect(head.toLowerCase()).not.toContain(`\n${name}:`);
});

describe("the gateway's own pages", () => {
  test("While a service has webContent: pass, /docs exists on MANAGEMENT_PORT only, and a warning says so", async () => {
    const services = { api: { baseUrl: "http://127.0.0.1:9", webContent: "pass" } } as const;
    const one = await startGateway({ services });
    for (const path of ["/docs", "/docs/start.js"]) {
      const response = await fetch(one.url + path);
      expect([response.status, await response.json()]).toMatchObject([
        404,
        { hint: expect.stringContaining("MANAGEMENT_PORT") },
      ]);
    }
    expect((await fetch(`${one.url}/openapi.json`)).status).toBe(200);
    const diagnostics = await (await fetch(`${one.url}/manage/diagnostics`)).text();
    expect(diagnostics).toContain("so /docs is off");
    const two = await startGateway({ services, env: { MANAGEMENT_PORT: "0" } });
    expect((await fetch(`${two.managementUrl}/docs`)).status).toBe(200);
    expect((await fetch(`${(await startGateway()).url}/docs`)).status).toBe(200);
  });

  test("Without a key, a page of the gateway's origin cannot change the gateway, nor read it beside pages that are not isolated", async () => {
    const body = JSON.stringify({ key: "added", config: { baseUrl: "https://api.example/" } });
    const ask = async (env: Record<string, string>, webContent: "isolate" | "pass", method: string, page: boolean) => {
      const services = { api: { baseUrl: "http://127.0.0.1:9", webContent } };
      const gateway = await startGateway({ services, env });
      const url = gateway.managementUrl ?? gateway.url;
      const lines = page ? `Origin: ${url}\r\nSec-Fetch-Site: same-origin\r\n` : "";
      const rest = method === "POST" ? `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n` : "";
      const head = `${method} /manage/services HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${lines}${rest}Connection: close\r\n\r\n`;
      return (await rawRequest(Number(new URL(url).port), head + (rest === "" ? "" : body))).status;
    };
    expect(await ask({}, "isolate", "POST", true)).toBe(403);
    expect(await ask({}, "isolate", "POST", false)).toBe(201);
    expect(await ask({}, "isolate", "GET", true)).toBe(200);
    expect(await ask({}, "pass", "GET", true)).toBe(403);
    expect(await ask({}, "pass", "GET", false)).toBe(200);
    expect(await ask({ MANAGEMENT_PORT: "0" }, "pass", "POST", true)).toBe(201);
  });

  test("A response of the gateway's own cannot be framed and runs nothing", async () => {
    const gateway = await startGateway();
    for (const path of ["/", "/openapi.json", "/status", "/nothing"]) {
      const { headers } = await fetch(gateway.url + path);
      expect(headers.get("content-security-policy")).toBe("default-src 'none'; frame-ancestors 'none'");
    }
  });

  test("A browser that asks for a service worker of an isolated service gets 403, and the upstream no request", async () => {
    const { status, upstream } = await send("200 OK", {}, "Service-Worker: script\r\n");
    expect([status, upstream.received]).toEqual([403, []]);
    expect((await send("200 OK", { webContent: "pass" }, "Service-Worker: script\r\n")).status).toBe(200);
  });
});
