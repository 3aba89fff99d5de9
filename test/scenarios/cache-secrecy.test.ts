/** No caller gets what another one was sent or caused: a property over what tells callers apart, and known attacks on caches. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { startCachedApi } from "../support/cached-api.ts";
import { manage } from "../support/manage.ts";

const CONTROLS = [
  "max-age=60",
  "public, max-age=60",
  "private, max-age=60",
  "max-age=0",
  "no-cache, max-age=60",
  "s-maxage=60",
];

const asked = fc.record({
  service: fc.constantFrom("api", "open", "jar"),
  caller: fc.constantFrom(0, 1),
  authorization: fc.constantFrom(undefined, "Basic b25lOnNlY3JldA==", "Basic dHdvOnNlY3JldA=="),
  cookie: fc.constantFrom(undefined, "session=one", "session=two"),
  mode: fc.constantFrom(undefined, "a", "b"),
  language: fc.constantFrom("de", "en"),
  path: fc.constantFrom("/x", "/y", "/x?q", "/%78"),
  method: fc.constantFrom("GET", "GET", "GET", "HEAD", "POST"),
  range: fc.constantFrom(undefined, undefined, "bytes=0-3"),
});

test("Each client gets the response to its own request, over credentials, Authorization, cookies, Vary and all other headers", async () => {
  const api = await startCachedApi({ open: { cache: true }, jar: { cache: true, cookies: true } });
  const { body: issued } = await manage(api.gateway, "POST", "/keys", { name: "b", permissions: ["*:*"] });
  const keys: readonly [Record<string, string>, Record<string, string>] = [{}, { "x-api-key": issued.key }];
  let controls = 0;
  // What it says depends on everything that it can see of a request, whether it names that in Vary or not.
  const said = (url: string, seen: Record<string, unknown>) =>
    [url, seen.cookie, seen["x-mode"], seen["accept-language"], seen.authorization]
      .map((text) => text ?? "-")
      .join(" ");
  api.respond = (req, res) => {
    res.setHeader("cache-control", CONTROLS[controls++ % CONTROLS.length] as string);
    if (controls % 3 === 0) res.setHeader("vary", "accept-language");
    const { authorization = "-" } = req.headers;
    const seen = { ...req.headers, authorization: authorization.startsWith("Bearer") ? "injected" : authorization };
    res.end(said(req.url as string, seen));
  };
  await fc.assert(
    fc.asyncProperty(fc.array(asked, { minLength: 4, maxLength: 12 }), async (sequence) => {
      for (const { service, caller, authorization, cookie, mode, language, path, method, range } of sequence) {
        const headers = { authorization, cookie, "x-mode": mode, "accept-language": language, range };
        const sent = Object.entries({ ...headers, ...keys[caller] }).filter(([, value]) => value !== undefined);
        const received = await api.ask(
          `/proxy/${service}${path}`,
          Object.fromEntries(sent) as Record<string, string>,
          method,
        );
        const expected = said(path, {
          cookie: service === "jar" ? cookie : undefined,
          "x-mode": mode,
          "accept-language": language,
          authorization: service === "api" ? "injected" : authorization,
        });
        if (method === "HEAD") expect(received.body).toBe("");
        else expect(received.body).toBe(received.status === 206 ? expected.slice(0, 4) : expected);
      }
      await manage(api.gateway, "DELETE", "/cache");
    }),
    { numRuns: 25, seed: 14 },
  );
});

/** Each is sent first; then a request without it must not show anything of it. */
type Attack = [name: string, path: string, headers: Record<string, string>, body?: string];

const ATTACKS: Attack[] = [
  ["X-Forwarded-Host", "/a", { "x-forwarded-host": "evil" }],
  ["Forwarded", "/a", { forwarded: "host=evil" }],
  ["X-Host", "/a", { "x-host": "evil" }],
  ["X-Original-URL", "/a", { "x-original-url": "/evil" }],
  ["X-HTTP-Method-Override", "/a", { "x-http-method-override": "EVIL" }],
  ["Origin", "/a", { origin: "http://evil" }],
  ["User-Agent", "/a", { "user-agent": "evil" }],
  ["Accept-Encoding", "/a", { "accept-encoding": "evil" }],
  ["baggage", "/a", { baggage: "evil=1" }],
  ["an underscore in a name", "/a", { x_host: "evil" }],
  ["a cookie", "/a", { cookie: "evil=1" }],
  ["a fat GET", "/a", { "content-length": "4" }, "evil"],
  ["a range that the upstream refuses", "/refuses-range", { range: "bytes=evil" }],
  ["a condition", "/refuses-condition", { "if-none-match": '"evil"' }],
  [
    "a neutral header that is too large",
    "/refuses-large",
    { tracestate: `evil=${"x".repeat(9_000)}`, traceparent: `00-${"1".repeat(32)}-${"1".repeat(16)}-01` },
  ],
  ["a header that is too large", "/refuses-large", { "x-large": "x".repeat(9_000) }],
  ["an encoded slash", "/%61", {}],
  ["a doubled slash", "//a", {}],
  ["another case", "/A", {}],
  ["a parameter", "/a?evil", {}],
];

test.each<Attack>(ATTACKS)(
  "A response that %s caused is not served to another request",
  async (_, path, headers, body) => {
    const api = await startCachedApi();
    api.respond = (req, res) => {
      const isRefused =
        (req.url === "/refuses-range" && req.headers.range !== undefined) ||
        (req.url === "/refuses-condition" && req.headers["if-none-match"] !== undefined) ||
        (req.url === "/refuses-large" && JSON.stringify(req.headers).length > 4_000);
      let received = "";
      req.on("data", (chunk) => {
        received += chunk;
      });
      req.on("end", () => {
        // Also what it refuses may be stored, it says.
        res.writeHead(isRefused ? 400 : 200, { "cache-control": "public, max-age=60" });
        res.end(isRefused ? "evil" : `${req.url} ${JSON.stringify(req.headers)} ${received}`);
      });
    };
    await api.ask(`/proxy/api${path}`, headers, "GET", body);
    const victims = path.startsWith("/refuses") ? path : "/a";
    const received = await api.ask(`/proxy/api${victims}`);
    expect(received.status).toBe(200);
    expect(received.body.startsWith(`${victims} `)).toBe(true);
    expect(received.body.toLowerCase()).not.toContain("evil");
  },
);
