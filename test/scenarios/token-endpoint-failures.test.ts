/** Every kind of token is fetched from an endpoint that may fail in any way: the same ways for each kind. */
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { piecesOf, pkcs1Of, rsaPair, serviceAccountOf } from "../support/keys.ts";
import { startUpstream } from "../support/upstream.ts";

const pair = rsaPair();
const SECRET = "the-secret-of-the-client";

interface TokenKind {
  readonly name: string;
  /** @param at makes the token one of its own. */
  readonly auth: (url: string, at: number) => NonNullable<ServiceInput["auth"]>;
  /** Of its endpoint. */
  readonly path: (at: number) => string;
  /** Of a response with a token. */
  readonly status: number;
  readonly body: (token: unknown, lifeSeconds: unknown) => object;
}

const oauthBody = (token: unknown, life: unknown) => ({ access_token: token, token_type: "bearer", expires_in: life });

const kinds: readonly TokenKind[] = [
  {
    name: "client-credentials",
    auth: (url, at) => ({
      ...({ type: "oauth2", grant: "client_credentials", clientSecretEnvVar: "CLIENT_SECRET" } as const),
      ...{ tokenUrl: `${url}/token`, clientId: `client-${at}` },
    }),
    path: () => "/token",
    status: 200,
    body: oauthBody,
  },
  {
    name: "jwt-bearer",
    auth: (url, at) => ({
      ...({ type: "oauth2", grant: "jwt_bearer", keyFile: "account.json" } as const),
      ...{ tokenUrl: `${url}/token`, subject: `user-${at}` },
    }),
    path: () => "/token",
    status: 200,
    body: oauthBody,
  },
  {
    name: "github-app",
    auth: (_, at) => ({ type: "github-app", appId: 1, privateKeyEnvVar: "APP_KEY", installationId: at + 1 }),
    path: (at) => `/app/installations/${at + 1}/access_tokens`,
    status: 201,
    // Without a life, it ended a while ago: GitHub's clock says the time in seconds only.
    body: (token, life) => ({ token, expires_at: new Date(Date.now() + (Number(life) || -5) * 1_000).toISOString() }),
  },
];

type Answer = (kind: TokenKind, res: ServerResponse, elsewhere: string) => void;

const respond =
  (status: number, body: string | object, headers: Record<string, string> = {}): Answer =>
  (_, res) => {
    res.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
  };

const issue =
  (token: unknown, life: unknown = 3_600): Answer =>
  (kind, res) => {
    res.writeHead(kind.status, { "content-type": "application/json" }).end(JSON.stringify(kind.body(token, life)));
  };

const failures: readonly [string, Answer, RegExp][] = [
  ["it responds with 500", respond(500, "private-text"), /responded with 500/],
  ["it responds with 429", respond(429, "private-text", { "retry-after": "30" }), /responded with 429/],
  ["it is not there", respond(404, { message: "private-text" }), /responded with 404/],
  [
    "it redirects",
    (_, res, url) => res.writeHead(307, { location: `${url}/private-text` }).end(),
    /responded with 307/,
  ],
  [
    "it responds with no JSON",
    (kind, res) => res.writeHead(kind.status).end("<p>private-text"),
    /something other than a/,
  ],
  [
    "it responds with a list",
    (kind, res) => res.writeHead(kind.status).end('["private-text"]'),
    /something other than a/,
  ],
  ["it responds with nothing", (kind, res) => res.writeHead(kind.status).end(), /something other than a/],
  [
    "it responds with too much",
    (kind, res) => res.writeHead(kind.status).end("x".repeat(400_000)),
    /could not be used/,
  ],
  ["it closes the connection", (_, res) => void res.destroy(), /could not be used/],
  [
    "the body ends early",
    (kind, res) => void res.writeHead(kind.status, { "content-length": "9" }).write("{", () => res.destroy()),
    /could not be used/,
  ],
  ["there is no token", issue(undefined), /without a valid (access_)?token/],
  ["the token is an object", issue({ a: "private-text" }), /without a valid (access_)?token/],
  ["the token is empty", issue(""), /without a valid (access_)?token|cannot carry/],
  ["the token has a line break", issue("private-text\r\nX-Admin: 1"), /characters that a header cannot carry/],
  ["the token has a NUL", issue("private-text\0"), /characters that a header cannot carry/],
  ["the token has a space", issue("private text"), /characters that a header cannot carry/],
  ["the token has other letters", issue("private-töken"), /characters that a header cannot carry/],
  ["the token is too long", issue("x".repeat(20_000)), /too long for a header/],
  ["the token has expired", issue("private-text", 0), /already expired/],
  ["the token is a key of the gateway", issue(MANAGEMENT_KEY), /issued a key of the gateway/],
];

test.each(kinds)(
  "Whatever happens at the endpoint of $name, requests get 502 without its text, and no other server is asked",
  async (kind) => {
    let answer: Answer | undefined;
    const elsewhere = await startUpstream();
    const asked: string[] = [];
    const upstream = await startUpstream((req, res) => {
      req.resume();
      asked.push(req.url ?? "");
      answer?.(kind, res, elsewhere.url);
    });
    const services = failures.map((_, at) => [
      `api-${at}`,
      { baseUrl: upstream.url, retries: 0, auth: kind.auth(upstream.url, at) },
    ]);
    const env = { EGRESS_ALLOW_PRIVATE: "true", MANAGEMENT_API_KEY: MANAGEMENT_KEY, CLIENT_SECRET: SECRET };
    const gateway = await startGateway({
      env: { ...env, APP_KEY: pkcs1Of(pair) },
      services: Object.fromEntries(services),
      files: { "account.json": serviceAccountOf(pair, "https://oauth2.googleapis.com/token") },
    });
    for (const [at, [name, how, reason]] of failures.entries()) {
      answer = how;
      const url = `${gateway.url}/proxy/api-${at}/x`;
      const refused = await fetch(url);
      const text = await refused.text();
      expect([refused.status, JSON.parse(text).code], name).toEqual([502, "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
      expect(text, name).toMatch(reason);
      expect(
        hidden.filter((piece) => text.includes(piece)),
        name,
      ).toEqual([]);
      // At once, without another request to the endpoint.
      expect((await fetch(url)).status, name).toBe(502);
      expect(asked.splice(0), name).toEqual([kind.path(at)]);
    }
    expect(elsewhere.requests).toHaveLength(0);
    const headers = { authorization: `Bearer ${MANAGEMENT_KEY}` };
    const status = await (await fetch(`${gateway.url}/status`, { headers })).text();
    for (const shown of [gateway.logText(), status]) {
      expect(shown).toContain("characters that a header cannot carry");
      expect(hidden.filter((piece) => shown.includes(piece))).toEqual([]);
    }
  },
);

const hidden = [...piecesOf(pair), "private-t", "private text", SECRET, "eyJhbGci", MANAGEMENT_KEY];
