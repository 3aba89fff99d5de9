/** The same request over HTTP/1.1 and over HTTP/2 is the same request to the upstream, and has the same response. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { openSession, send } from "../support/http2-client.ts";
import { FRAME, frame, get, openFrames, request, reset } from "../support/http2-frames.ts";
import { startTlsGateway, tlsRequest } from "../support/tls-gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const NAMES = [
  ...["accept", "x-custom", "x_api_key", "x-api-key", "authorization", "x-forwarded-for", "forwarded", "origin"],
  ...["referer", "via", "x-request-id", "traceparent", "tracestate", "user-agent", "if-none-match", "range"],
  ...["content-type", "accept-encoding", "cookie", "proxy-authorization", "x-method-override"],
];
const VALUES = [
  ...["a", "a, b", "", "t\tb", `Bearer ${PROXY_KEY}`, PROXY_KEY, "Basic eDp5", "1.1 someone", "bytes=0-1"],
  ...["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1; b=2", "text/plain", "for=1.2.3.4"],
];
const PATHS = [
  ...["/", "/a/b?x=1", "/%2e%2e/x", "/a//b", "/%zz", "/a%2Fb?api_key=", `/x?api_key=${PROXY_KEY}&y=2`, "/a#b"],
  ...["/a\\b", "/?", "/~a;b=c"],
];
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"];

/** What differs for each request, and between two connections. */
const OWN = new Set(["x-request-id", "traceparent", "x-proxy-request-id", "x-proxy-duration", "date", "connection"]);

describe("One request over both versions", () => {
  test("It is one request to the upstream and has one response, whatever its head is", async () => {
    const upstream = await startUpstream(async (req, res) => {
      const body = await bodyOf(req);
      res.writeHead(req.url?.includes("b") ? 404 : 200, {
        "x-upstream": "1",
        location: `${upstream.url}/next`,
        "set-cookie": ["a=1", "b=2"],
        connection: "x-hop",
        "x-hop": "1",
      });
      res.end(req.method === "HEAD" ? undefined : `${body.length} bytes`);
    });
    const { gateway } = await startTlsGateway({
      env: { PROXY_API_KEY: PROXY_KEY },
      services: { a: { baseUrl: `${upstream.url}/base`, cookies: true, forwardedHeaders: true } },
    });
    const session = await openSession(gateway.url);
    const seen = () => {
      const req = upstream.requests.pop();
      upstream.requests.length = 0;
      return req && [req.method, req.url, ...comparable(Object.entries(req.headers))];
    };
    const header = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES));
    const head = fc.record({
      method: fc.constantFrom(...METHODS),
      path: fc.constantFrom(...PATHS),
      headers: fc.uniqueArray(header, { maxLength: 6, selector: ([name]) => name }),
      hasKey: fc.boolean(),
      // node:http's client adds a length of 0 to a request without a body.
      body: fc.constantFrom("", "hello"),
    });
    await fc.assert(
      fc.asyncProperty(head, async ({ method, path, headers, hasKey, body }) => {
        const given = Object.fromEntries(headers);
        if (hasKey) given["x-api-key"] = PROXY_KEY;
        // Guesses would lock the test out.
        else for (const name of ["x-api-key", "authorization"]) delete given[name];
        const content = ["GET", "HEAD", "TRACE"].includes(method) ? undefined : body;
        const length = content === undefined ? {} : { "content-length": String(content.length) };
        const target = `/proxy/a${path}`;
        const first = await tlsRequest(gateway.url, {
          method,
          path: target,
          headers: { ...given, ...length },
          ...withContent(content),
        });
        const firstSeen = seen();
        const fields = { ":method": method, ":path": target, ":authority": new URL(gateway.url).host };
        const second = await send(session, { ...fields, ...given, ...length }, content);
        const secondSeen = seen();
        expect(secondSeen).toEqual(firstSeen);
        expect(second.status).toBe(first.status);
        expect(comparable(Object.entries(second.headers))).toEqual(
          comparable(Object.entries(first.headers), ["transfer-encoding", "keep-alive"]),
        );
        expect(withoutIds(String(second.body))).toBe(withoutIds(first.body));
      }),
      { numRuns: 100 },
    );
  });
});

function withContent(content: string | undefined) {
  return content === undefined ? {} : { content };
}

function withoutIds(text: string): string {
  return text.replace(/"requestId":"[^"]*"/, "");
}

function comparable(headers: [string, unknown][], others: readonly string[] = []) {
  return headers
    .filter(([name]) => !name.startsWith(":") && !OWN.has(name) && !others.includes(name))
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
}

describe("What only HTTP/2 can express", () => {
  test("The gateway refuses a request that could be read in two ways, and no field with a colon reaches the upstream", async () => {
    const upstream = await startUpstream();
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url, cookies: true } } });
    const client = await openFrames(gateway.port);
    const path = "/proxy/a/x";
    // nghttp2 resets what the gateway would refuse; newer versions of it know more of it.
    const outcomes: [readonly (readonly [string, string])[], "reset" | "response" | "either"][] = [
      ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].map(
        (name): [[string, string][], "reset"] => [get(path, [[name, "x"]]), "reset"],
      ),
      [get(path, [["te", "gzip"]]), "reset"],
      [get(path, [["X-Upper", "x"]]), "reset"],
      [get(path, [[":path", "/other"]]), "reset"],
      [
        get(path, [
          ["x", "y"],
          [":late", "x"],
        ]),
        "reset",
      ],
      [
        get(path, [
          ["host", "a"],
          ["host", "a"],
        ]),
        "reset",
      ],
      [get("x"), "reset"],
      [get("*"), "reset"],
      [get("https://other/x"), "reset"],
      [get("/a b"), "reset"],
      [get(path, [["content-length", "5"]]), "reset"],
      [get("/\xe9"), "response"],
      [[...get("*").filter(([name]) => name !== ":method"), [":method", "OPTIONS"]], "response"],
      [get(path, [["host", "other"]]), "response"],
      [[...get(path).filter(([name]) => name !== ":scheme"), [":scheme", "ftp"]], "response"],
      [[...get(path).filter(([name]) => name !== ":method"), [":method", "get"]], "response"],
      [[...get(path).filter(([name]) => name !== ":authority"), [":authority", "u@localhost"]], "either"],
    ];
    for (const [i, [fields, outcome]] of outcomes.entries()) {
      const stream = 1 + 2 * i;
      client.send(request(stream, fields));
      const read = () =>
        client.resets.has(stream)
          ? "reset"
          : client.received.some((each) => each.stream === stream && each.type === FRAME.headers) && "response";
      const found = await eventually(read, JSON.stringify(fields));
      if (outcome !== "either") expect(found, JSON.stringify(fields)).toBe(outcome);
    }
    expect(upstream.requests).toEqual([]);
    const last = 1 + 2 * outcomes.length;
    client.send(
      request(
        last,
        get(path, [
          ["host", "localhost"],
          ["cookie", "a=1"],
          ["cookie", "b=2"],
          ["te", "trailers"],
          ["x-latin", "\xe9"],
        ]),
      ),
    );
    await eventually(() => upstream.requests.length === 1);
    const { rawHeaders, headers } = upstream.requests[0] ?? { rawHeaders: [], headers: {} };
    expect(rawHeaders.filter((name) => name.startsWith(":"))).toEqual([]);
    expect([headers.cookie, rawHeaders.filter((name) => name === "cookie")]).toEqual(["a=1; b=2", ["cookie"]]);
    expect([headers.te, headers["x-latin"]]).toEqual(["trailers", "\xe9"]);
    expect(client.isClosed).toBe(false);
  });

  test.each([0, 8])(
    "A body that its client cuts off is never completed to the upstream (RST_STREAM with %s, or the end of the connection)",
    async (code) => {
      const ended: string[] = [];
      const upstream = await startUpstream((req) => void req.resume().on("end", () => ended.push(req.url ?? "")));
      const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
      const client = await openFrames(gateway.port);
      const post = (stream: number) =>
        request(stream, [[":method", "POST"], ...get("/proxy/a/").filter(([name]) => name !== ":method")], 0);
      client.send(post(1), frame(FRAME.data, { stream: 1, payload: Buffer.from("begun") }));
      client.send(post(3), frame(FRAME.data, { stream: 3, payload: Buffer.from("begun") }));
      await eventually(() => upstream.requests.length === 2);
      client.send(reset(1, code));
      await eventually(() => upstream.sockets.size === 1);
      client.socket.end();
      await eventually(() => upstream.sockets.size === 0);
      await eventually(() => gateway.exchanges().length === 2);
      expect(ended).toEqual([]);
      expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(["client-left", "client-left"]);
    },
  );

  test("A body whose length is not the announced one is never completed to the upstream", async () => {
    const ended: string[] = [];
    const upstream = await startUpstream((req) => void req.resume().on("end", () => ended.push(req.url ?? "")));
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const client = await openFrames(gateway.port);
    const post = (stream: number) =>
      request(
        stream,
        [...get("/proxy/a/").filter(([name]) => name !== ":method"), [":method", "POST"], ["content-length", "5"]].sort(
          ([a = ""], [b = ""]) => Number(b.startsWith(":")) - Number(a.startsWith(":")),
        ) as [string, string][],
        0,
      );
    const data = (stream: number, text: string) => dataFrame(stream, text);
    client.send(post(1), data(1, "abc"));
    client.send(post(3), data(3, "abcdefgh"));
    // On Node 24 and later the whole connection ends.
    await eventually(() => client.resets.size === 2 || client.isClosed);
    await eventually(() => gateway.exchanges().length === 2);
    await eventually(() => upstream.sockets.size === 0);
    expect(ended).toEqual([]);
  });
});

function dataFrame(stream: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.from([0, 0, payload.length, FRAME.data, 1, 0, 0, 0, stream]);
  return Buffer.concat([head, payload]);
}
