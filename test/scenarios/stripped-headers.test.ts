/** Which of a caller's headers reach the upstream, over real sockets. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

type Line = readonly [name: string, value: string];

async function start(service: Record<string, unknown> = {}, env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, ...service } } });
  /** Sends the lines and returns those that arrived, without the headers that every request to an upstream has. */
  async function send(lines: readonly Line[]): Promise<{ arrived: Line[]; text: string }> {
    const before = upstream.received.join("").length;
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const response = await rawRequest(
      gateway.port,
      `GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n${head}Connection: close\r\n\r\n`,
    );
    expect(response.status).toBe(200);
    const text = upstream.received.join("").slice(before);
    const arrived = text
      .split("\r\n")
      .slice(1, -2)
      .map((line): Line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(": ") + 2)]);
    return { arrived: arrived.filter(([name]) => !ALWAYS.includes(name)), text };
  }
  return { send, gateway };
}

/** In the letter case of the gateway: the generated headers of callers have another. */
const ALWAYS = ["host", "connection", "X-Request-Id", "traceparent", "Via", "TE"];

const ENDS_HERE = [
  ...["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info"],
  ...["te", "trailer", "http2-settings", "x-api-key", "forwarded", "x-real-ip", "origin", "referer", "via"],
  ...["x-request-id", "traceparent", "x-forwarded-for", "x-forwarded-anything"],
];
/** Sent only in their underscore spelling: the names themselves would frame or route the request. */
const TWINS_ONLY = ["connection", "transfer-encoding", "upgrade", "host", "content-length", "expect"];
const WITH_DASH = [...ENDS_HERE, ...TWINS_ONLY, "authorization", "cookie"];
const ODD = ["__proto__", "constructor", "hasOwnProperty", "toString", "x!#$%&'*+.^`|~", "0", "q_a", "Q-A", "via2"];

const cased = (name: string) =>
  fc.constantFrom(
    name.toUpperCase(),
    name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()) + (name === "te" ? "" : ""),
  );
const twin = fc
  .constantFrom(...WITH_DASH)
  .chain((name) => fc.constantFrom(name.replaceAll("-", "_"), `${name}_`, `_${name}`, name.replace("-", "_")))
  .filter((name) => name.includes("_"));
const value = fc
  .array(fc.constantFrom("a", "Z", "9", " ", "\t", '"', ",", ";", "=", "%", "\\", "\xe9", "\xff", "/"), {
    maxLength: 12,
  })
  .map((characters) => characters.join("").trim());
const holdingKey = fc.constantFrom(
  ...[
    PROXY_KEY,
    `Bearer ${PROXY_KEY}`,
    `Bearer "${PROXY_KEY}"`,
    `Bearer a, Bearer ${PROXY_KEY}`,
    `apikey=${PROXY_KEY}`,
  ],
  ...[`Digest username="${PROXY_KEY}", x=y`, `Basic ${Buffer.from(`${PROXY_KEY}:`).toString("base64")}`],
  ...[`Basic ${Buffer.from(`a:b:${PROXY_KEY}`).toString("base64url")}`, `a=1; k=${PROXY_KEY}; b=2`, `k="${PROXY_KEY}"`],
  ...[`k=${PROXY_KEY.replaceAll("-", "%2D")}`, `k=Bearer%20${PROXY_KEY}`, `a=b,${PROXY_KEY}`],
);
const line: fc.Arbitrary<Line> = fc.oneof(
  fc.tuple(fc.constantFrom(...ENDS_HERE).chain(cased), value),
  fc.tuple(fc.constantFrom("X-API-KEY", "Referer", "Origin", "Proxy-Authorization", "X-Request-Id"), holdingKey),
  fc.tuple(twin, fc.oneof(value, holdingKey)),
  fc.tuple(fc.constantFrom("Authorization", "AUTHORIZATION", "Cookie"), fc.oneof(value, holdingKey)),
  fc.tuple(fc.oneof(fc.constantFrom(...ODD), fc.stringMatching(/^Q[a-zA-Z0-9-]{1,9}$/)), value),
);

/** The same rule a second time, written from the documentation and not from the code. */
function isKept([rawName, text]: Line, named: readonly string[]): boolean {
  const name = rawName.toLowerCase();
  const dashed = name.includes("_") ? name.replaceAll("_", "-").replace(/^-+|-+$/g, "") : name;
  if (dashed !== name && WITH_DASH.includes(dashed)) return false;
  if (ENDS_HERE.includes(name) || dashed.startsWith("x-forwarded-")) return false;
  if (named.includes(name) || named.includes(name.replaceAll("_", "-"))) return false;
  return !hasKey(text);
}

function hasKey(text: string): boolean {
  const plain = text.replaceAll("%2D", "-");
  const packed = Buffer.from(text.replace(/^\S+\s+/, ""), "base64").toString("latin1");
  return plain.includes(PROXY_KEY) || packed.includes(PROXY_KEY);
}

/** Of a Cookie header with the key, the other cookies stay. */
function withoutKey([name, text]: Line): Line {
  if (name.toLowerCase() !== "cookie" || !hasKey(text)) return [name, text];
  const kept = text.split(";").filter((pair) => !hasKey(pair.trim()));
  return [name, kept.length === 0 ? text : kept.join(";").trim()];
}

test("For every list of headers, those that must not be forwarded are removed, and all others arrive with their case, value and order", async () => {
  const { send } = await start({ cookies: true }, { PROXY_API_KEY: PROXY_KEY });
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 14 }),
      fc.array(fc.constantFrom("q-a", "constructor", "__proto__", "authorization", "cookie", "x!#$%&'*+.^`|~")),
      async (lines, named) => {
        const connection = named.map((name): Line => ["Connection", `${name.toUpperCase()} ,`]);
        const { arrived, text } = await send([["x-api-key", PROXY_KEY], ...connection, ...lines]);
        expect(arrived).toEqual(lines.map(withoutKey).filter((one) => isKept(one, named)));
        expect(text).not.toContain(PROXY_KEY);
      },
    ),
    {
      numRuns: 250,
      examples: [
        [[["Authorization", `Basic ${Buffer.from(`a:b:${PROXY_KEY}`).toString("base64url")}`]], []],
        [[["Cookie", `a=1; k=${PROXY_KEY}; b=2`]], []],
      ],
    },
  );
});

describe("caller's header", () => {
  test("A header that Connection names is removed in its underscore spelling too", async () => {
    const { send } = await start();
    const { arrived } = await send([
      ["X-Internal-User", "a"],
      ["X_Internal_User", "b"],
      ["Connection", "x-internal-user"],
    ]);
    expect(arrived).toEqual([]);
  });

  test("TE is forwarded as `trailers` and as nothing else", async () => {
    const { send } = await start();
    for (const [te, expected] of [
      ["trailers", true],
      ["gzip;q=0.5, Trailers;q=1", true],
      ["gzip, xtrailers", false],
    ] as const) {
      const { text } = await send([["TE", te]]);
      expect(text.match(/^TE: .*$/gim) ?? []).toEqual(expected ? ["TE: trailers"] : []);
    }
  });

  test("A header with several lines keeps all of them, and Authorization has one line if a credential is injected", async () => {
    const auth = { type: "bearer", tokenEnvVar: "TOKEN" };
    const { send } = await start({ auth }, { TOKEN: "the-real-one" });
    const many = Array.from({ length: 200 }, (_, i): Line => ["X-Many", `${i}`]);
    const { arrived } = await send([["authorization", "a"], ...many, ["AUTHORIZATION", "b"], ["Authorization_", "c"]]);
    expect(arrived).toEqual([...many, ["Authorization", "Bearer the-real-one"]]);
  });
});
