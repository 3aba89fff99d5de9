/** `/openapi.json` describes every route and nothing else: the tests send each operation and cause each error code over real sockets. */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { Validator } from "@seriousme/openapi-schema-validator";
import { describe, expect, test } from "vitest";
import type { AuditEntry } from "../../src/callers/audit.ts";
import type { StoredKey } from "../../src/callers/issued-key.ts";
import { servicesFileJsonSchema } from "../../src/config/json-schema.ts";
import { createControlPlane } from "../../src/control-plane/app.ts";
import type { ControlPlaneParts } from "../../src/control-plane/parts.ts";
import { CATALOG, type ErrorCode } from "../../src/error-catalog.ts";
import type { StoredService } from "../../src/services/stored-services.ts";
import { createMemoryStores } from "../../src/stores/open-stores.ts";
import { createRecords } from "../../src/stores/records.ts";
import {
  type Asked,
  ask,
  askRaw,
  type Contract,
  contractOf,
  type Document,
  type Observed,
} from "../support/contract.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { AUDIENCE, createIssuerKey, ISSUER, SECRET, signWithSecret } from "../support/issuer.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const caller = { "x-api-key": PROXY_KEY };
const operator = { "x-api-key": MANAGEMENT_KEY };
const asJson = { ...operator, "content-type": "application/json" };
const pem = (name: string) => join(import.meta.dirname, `../support/tls/${name}.pem`);
const WEATHER = { baseUrl: "https://api.weather.example/v2/" };

/** Its response costs one token, which is the budget. */
const SPENT = {
  method: "POST",
  path: "/proxy/spending/x",
  headers: { ...caller, "content-type": "application/json" },
  body: "{}",
};

const ROTATED = { FIRST_TOKEN: "first-token", SECOND_TOKEN: "second-token", REFUSED_TOKEN: "refused-token" };
const rotated = (tokenEnvVar: keyof typeof ROTATED, nextTokenEnvVar: keyof typeof ROTATED) =>
  ({ type: "bearer", tokenEnvVar, nextTokenEnvVar }) as const;

const GET_PROXIED = "GET /proxy/{service}/{path}";

async function documentOf(url: string): Promise<Document> {
  return (await fetch(`${url}/openapi.json`)).json() as Promise<Document>;
}

/** A gateway with services for each outcome of an exchange, and the contract in its document. */
async function start(env: Record<string, string> = {}, setup: Parameters<typeof startGateway>[0] = {}) {
  const upstream = await startUpstream((req, res) => {
    if (req.url?.startsWith("/held/")) {
      for (const [name, value] of Object.entries({ limit: "1", remaining: "0", reset: "60" })) {
        res.setHeader(`x-ratelimit-${name}`, value);
      }
    }
    if (req.headers.authorization === `Bearer ${ROTATED.REFUSED_TOKEN}`) res.statusCode = 401;
    if (req.url?.startsWith("/spent/")) {
      res.setHeader("content-type", "application/json").end('{"usage":{"total_tokens":1}}');
    } else if (req.url !== "/slow") req.resume().on("end", () => res.setHeader("content-type", "text/plain").end("ok"));
  });
  const secure = await startUpstream(
    undefined,
    createServer({ cert: readFileSync(pem("localhost")), key: readFileSync(pem("localhost-key")) }),
  );
  const garbled = await startRawUpstream(respondWith("nonsense\r\n\r\n", "end"));
  const leaving = await startRawUpstream(respondWith("HTTP/1.1 302 Found\r\nLocation: //other.example\r\n\r\n", "end"));
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({
    ...setup,
    // Compiling the document may block the event loop for long, which must not shed the next request.
    env: { ...KEYS, ...ROTATED, PRESSURE_MAX_EVENT_LOOP_DELAY: "60000", ...env },
    services: {
      api: { baseUrl: upstream.url, rateLimit: { maxRequests: 100, windowMs: 60_000 }, maxBodyBytes: 1000 },
      limited: { baseUrl: upstream.url, rateLimit: { maxRequests: 1, windowMs: 60_000 } },
      spending: { baseUrl: `${upstream.url}/spent`, budget: { tokens: 1, per: "month" } },
      cached: { baseUrl: upstream.url, cache: true },
      once: { baseUrl: upstream.url, timeoutMs: 50, idempotency: true },
      reading: { baseUrl: upstream.url, methods: ["GET"] },
      slow: { baseUrl: upstream.url, timeoutMs: 50, idleTimeoutMs: 50 },
      held: { baseUrl: `${upstream.url}/held/`, quota: { mode: "hold" } },
      ws: { baseUrl: echo.url, ws: true },
      signed: {
        baseUrl: upstream.url,
        access: "signature",
        verify: { scheme: "github", secretEnvVar: "NO_SIGNING_SECRET" },
      },
      garbled: { baseUrl: garbled.url },
      leaving: { baseUrl: leaving.url, redirects: "block" },
      commanded: { baseUrl: leaving.url, auth: { type: "bearer", tokenCommand: ["/no/such/program"] } },
      printing: { baseUrl: leaving.url, auth: { type: "bearer", tokenCommand: ["echo", "printed-secret"] } },
      rotating: { baseUrl: upstream.url, auth: rotated("FIRST_TOKEN", "SECOND_TOKEN") },
      refusing: { baseUrl: `${upstream.url}/refusing`, auth: rotated("FIRST_TOKEN", "REFUSED_TOKEN") },
      personal: {
        baseUrl: upstream.url,
        auth: {
          type: "oauth2",
          grant: "refresh_token",
          refreshToken: "login",
          tokenUrl: "http://127.0.0.1:9/",
          authorizationUrl: "http://127.0.0.1:9/",
          clientId: "client",
          clientAuth: "none",
        },
      },
      closed: { baseUrl: "http://127.0.0.1:9/", retries: 0 },
      broken: { baseUrl: "http://127.0.0.1:9/", retries: 0, breaker: { minRequests: 1 } },
      plain: { baseUrl: upstream.url.replace("http:", "https:"), retries: 0 },
      metadata: { baseUrl: "http://169.254.169.254/" },
      secure: {
        baseUrl: secure.url.replace("http:", "https:").replace("127.0.0.1", "localhost"),
        tls: { caFile: pem("ca") },
      },
      // An entry that changes a built-in service has only the changed members.
      github: { timeoutMs: 5000, auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKEN" } },
    },
  });
  return { gateway, upstream, contract: contractOf(await documentOf(gateway.url)) };
}

function expectPromised(contract: Contract, operation: string, answer: Observed): void {
  expect(contract.problemsOf(operation, answer), operation).toEqual([]);
}

/** A successful request for each operation, in an order in which each can succeed. */
const SUCCESSES: readonly (readonly [operation: string, status: number, asked?: Partial<Asked>])[] = [
  ...(
    [
      "/",
      "/health",
      "/health/live",
      "/health/liveness",
      "/health/ready",
      "/health/readiness",
      "/version",
      "/health/version",
      "/version/check",
    ] as const
  ).map((path) => [`GET ${path}`, 200] as const),
  ["GET /up", 200],
  ["GET /auth-status", 200],
  ["GET /auth-status", 200, { headers: { authorization: "Basic eDp5" } }],
  ["GET /status", 200],
  ["GET /status", 200, { headers: operator }],
  ["GET /metrics", 200],
  ["GET /docs", 200],
  ["GET /docs/{file}", 200, { path: "/docs/start.js" }],
  ["GET /docs/{file}", 200, { path: "/docs/swagger-ui.css" }],
  ["GET /docs/{file}", 200, { path: "/docs/swagger-ui-bundle.js" }],
  ["GET /openapi.json", 200],
  ["GET /proxy/services", 200, { headers: caller }],
  ["GET /proxy/services/{service}/rate-limit", 200, { path: "/proxy/services/api/rate-limit", headers: caller }],
  ["GET /proxy/services/{service}/rate-limit", 200, { path: "/proxy/services/ws/rate-limit", headers: caller }],
  ["GET /proxy/auth-test", 200, { headers: { authorization: `Bearer ${PROXY_KEY}` } }],
  ["GET /proxy/auth-test", 200, { path: `/proxy/auth-test?api_key=${PROXY_KEY}` }],
  ...(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const).map(
    (method) =>
      [`${method} /proxy/{service}/{path}`, 200, { path: "/proxy/api/a/b?c", method, headers: caller }] as const,
  ),
  [
    "GET /proxy/{service}/{path}",
    101,
    {
      path: `/proxy/ws/?api_key=${PROXY_KEY}`,
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      },
    },
  ],
  [
    "OPTIONS /proxy/{service}/{path}",
    204,
    { path: "/proxy/api/a", headers: { origin: "https://app.example", "access-control-request-method": "PUT" } },
  ],
  ["POST /manage/services", 201, { headers: asJson, body: JSON.stringify({ key: "weather", config: WEATHER }) }],
  ["GET /manage/services", 200, { headers: operator }],
  ["GET /manage/services/{key}", 200, { path: "/manage/services/github", headers: operator }],
  [
    "GET /manage/services/{key}",
    304,
    { path: "/manage/services/github", headers: { ...operator, "if-none-match": "*" } },
  ],
  ["PUT /manage/services/{key}", 201, { path: "/manage/services/new", headers: asJson, body: JSON.stringify(WEATHER) }],
  ["PUT /manage/services/{key}", 200, { path: "/manage/services/new", headers: asJson, body: JSON.stringify(WEATHER) }],
  ["PATCH /manage/services/{key}", 200, { path: "/manage/services/weather", headers: asJson, body: '{"retries":1}' }],
  [
    "PATCH /manage/services/{key}",
    200,
    {
      path: "/manage/services/weather",
      headers: { ...operator, "content-type": "application/merge-patch+json" },
      body: '{"retries":null}',
    },
  ],
  ["POST /manage/services/{key}/test", 200, { path: "/manage/services/api/test", headers: operator }],
  ["POST /manage/services/{key}/test", 200, { path: "/manage/services/closed/test", headers: operator }],
  ["POST /manage/services/{key}/test", 200, { path: "/manage/services/secure/test", headers: operator }],
  [
    "POST /manage/services/{key}/credential/refresh",
    204,
    { path: "/manage/services/printing/credential/refresh", headers: operator },
  ],
  [
    "POST /manage/services/{key}/credential/rotate",
    202,
    { path: "/manage/services/rotating/credential/rotate", headers: operator },
  ],
  [
    "DELETE /manage/services/{key}/credential/rotate",
    204,
    { path: "/manage/services/rotating/credential/rotate", headers: operator },
  ],
  [
    "PUT /manage/services/{key}/credential",
    204,
    { path: "/manage/services/personal/credential", headers: asJson, body: '{"accessToken":"of-a-person"}' },
  ],
  [
    "DELETE /manage/services/{key}/credential",
    204,
    { path: "/manage/services/personal/credential", headers: operator },
  ],
  ["POST /manage/services/{key}/quota/reset", 204, { path: "/manage/services/held/quota/reset", headers: operator }],
  [
    "POST /manage/services/{key}/rate-limit/reset",
    204,
    { path: "/manage/services/api/rate-limit/reset", headers: operator },
  ],
  ["DELETE /manage/cache", 204, { headers: operator }],
  ["DELETE /manage/cache/{key}", 204, { path: "/manage/cache/cached", headers: operator }],
  ["DELETE /manage/services/{key}", 204, { path: "/manage/services/weather", headers: operator }],
  ["POST /manage/reload", 200, { headers: operator }],
  ["GET /manage/audit", 200, { headers: operator }],
  ["GET /manage/audit", 200, { path: "/manage/audit?limit=2&limit=x", headers: operator }],
  ["GET /manage/requests", 200, { headers: operator }],
  ["GET /manage/requests", 200, { path: "/manage/requests?status=2xx&service=api&limit=1", headers: operator }],
  ["GET /manage/events", 200, { headers: operator }],
  ["POST /manage/keys", 201, { headers: asJson, body: '{"name":"ci","permissions":["api:read"]}' }],
  ["GET /manage/keys", 200, { headers: operator }],
  ["GET /manage/keys/{id}", 200, { path: "/manage/keys/key_1", headers: operator }],
  ["PATCH /manage/keys/{id}", 200, { path: "/manage/keys/key_1", headers: asJson, body: '{"name":"cd"}' }],
  ["POST /manage/keys/{id}/rotate", 200, { path: "/manage/keys/key_1/rotate", headers: operator }],
  ["DELETE /manage/keys/{id}", 204, { path: "/manage/keys/key_1", headers: operator }],
  ["GET /manage/key-debug", 200, { headers: operator }],
  [GET_PROXIED, 200, { path: "/proxy/held/x", headers: caller }],
  ["GET /manage/quota", 200, { headers: operator }],
  ["GET /manage/usage", 200, { headers: operator }],
  ["GET /manage/usage", 200, { path: "/manage/usage?per=month&service=spending&caller=proxy-key", headers: operator }],
  ["GET /manage/diagnostics", 200, { headers: operator }],
  [
    "POST /manage/explain",
    200,
    {
      headers: asJson,
      body: '{"method":"GET","path":"/proxy/api/x","headers":{"accept":["a","b"]},"caller":"proxy-key"}',
    },
  ],
  ["POST /manage/explain", 200, { headers: asJson, body: '{"method":"PUT","path":"/proxy/nope/%2e%2e"}' }],
];

/** A stored key with an unknown text. */
const ISSUED: StoredKey = {
  name: "ci",
  permissions: ["api:read"],
  createdAt: "2026-11-21T16:00:00.000Z",
  createdBy: "management-key",
  expiresAt: null,
  revokedAt: null,
  rateLimit: null,
  allowIps: [],
  digests: [{ sha256: "0".repeat(64), validUntil: null }],
};

/** Headers with a new key that has these members. */
async function issuedFor({ gateway }: { readonly gateway: TestGateway }, more: object) {
  const body = JSON.stringify({ name: "ci", permissions: ["reading:read"], ...more });
  const answer = await ask(gateway.port, { method: "POST", path: "/manage/keys", headers: asJson, body });
  return { "x-api-key": (JSON.parse(answer.body) as { key: string }).key };
}

/** A request that is refused with a code. */
interface Refusal {
  readonly code: ErrorCode;
  /** The documented operation, also if the method of the request is not documented. */
  readonly operation: string;
  readonly asked?: Partial<Asked>;
  /** Sent instead of `asked`. */
  readonly bytes?: string;
  readonly env?: Record<string, string>;
  /** Runs before the request. */
  readonly before?: (started: Awaited<ReturnType<typeof start>>) => unknown;
  readonly headersOf?: (started: Awaited<ReturnType<typeof start>>) => Promise<Record<string, string>>;
}

const proxied = (path: string, more: Partial<Asked> = {}) => ({ path: `/proxy/${path}`, headers: caller, ...more });
const keyed = { headers: { ...caller, "idempotency-key": "k" } };
const onOne = (key: string, more: Partial<Asked> = {}) => ({
  path: `/manage/services/${key}`,
  headers: asJson,
  ...more,
});
const raw = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, ...headers, "Connection: close", "", ""].join("\r\n");
const HOST = "Host: localhost";

const TOKEN_ENV = { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE };
const SECRET_ENV = { ...TOKEN_ENV, JWT_SECRET: SECRET };
const TOKENS: readonly { readonly code: ErrorCode; readonly token: string }[] = [
  { code: "TOKEN_EXPIRED", token: await signWithSecret({ exp: 1 }) },
  { code: "INVALID_TOKEN", token: await signWithSecret({ aud: "another" }) },
  { code: "TOKEN_KEYS_UNAVAILABLE", token: await (await createIssuerKey("one")).sign() },
];

const REFUSALS: readonly Refusal[] = [
  {
    code: "INVALID_REQUEST",
    operation: "GET /health",
    bytes: raw("GET /health", HOST, "Content-Length: 1", "Transfer-Encoding: chunked"),
  },
  { code: "INVALID_PATH", operation: GET_PROXIED, asked: proxied("api/%2e%2e/x") },
  { code: "INVALID_PATH", operation: "GET /health", bytes: raw("GET http://localhost/health", HOST) },
  { code: "HOST_HEADER_INVALID", operation: "GET /version", bytes: raw("GET /version", HOST, HOST) },
  {
    code: "VALIDATION_ERROR",
    operation: "POST /manage/services",
    asked: { headers: asJson, body: '{"key":"x","config":{"baseUrl":"ftp://x","retrys":1}}' },
  },
  { code: "VALIDATION_ERROR", operation: "POST /manage/services", asked: { headers: asJson, body: "{" } },
  { code: "VALIDATION_ERROR", operation: "POST /manage/explain", asked: { headers: asJson, body: '{"path":1}' } },
  {
    code: "VALIDATION_ERROR",
    operation: "GET /manage/requests",
    asked: { path: "/manage/requests?stauts=5xx", headers: operator },
  },
  {
    code: "VALIDATION_ERROR",
    operation: "GET /manage/events",
    asked: { path: "/manage/events?status=6xx", headers: operator },
  },
  { code: "VALIDATION_ERROR", operation: "PUT /manage/services/{key}", asked: onOne("UPPER", { body: "{}" }) },
  { code: "VALIDATION_ERROR", operation: "PATCH /manage/services/{key}", asked: onOne("api", { body: '{"ws":3}' }) },
  {
    code: "VALIDATION_ERROR",
    operation: "GET /manage/audit",
    asked: { path: "/manage/audit?limit=0", headers: operator },
  },
  {
    code: "VALIDATION_ERROR",
    operation: "POST /manage/reload",
    asked: { headers: operator },
    before: ({ gateway }) => writeFileSync(join(gateway.directory, "services.json"), '{"services":{"x":{}}}'),
  },
  { code: "MISSING_CREDENTIALS", operation: "GET /proxy/services" },
  { code: "MISSING_CREDENTIALS", operation: "GET /manage/services" },
  { code: "MISSING_CREDENTIALS", operation: "HEAD /proxy/{service}/{path}", asked: { path: "/proxy/api/" } },
  { code: "INVALID_API_KEY", operation: "GET /proxy/auth-test", asked: { headers: operator } },
  { code: "INVALID_API_KEY", operation: "GET /manage/key-debug", asked: { headers: caller } },
  { code: "INVALID_API_KEY", operation: GET_PROXIED, asked: proxied("api/", { headers: operator }) },
  { code: "INVALID_SIGNATURE", operation: GET_PROXIED, asked: proxied("signed/") },
  {
    code: "REFUSED_BY_HOOK",
    operation: GET_PROXIED,
    asked: proxied("api/"),
    before({ gateway }) {
      const source = 'export default { name: "no", onRequest: (request) => request.refuse(403, { code: "NO" }) };';
      writeFileSync(join(gateway.directory, "hooks.mjs"), source, { mode: 0o600 });
      writeFileSync(join(gateway.directory, ".env"), "MIDDLEWARE_PATH=hooks.mjs\n");
      return gateway.reload();
    },
  },
  ...TOKENS.map(({ code, token }) => ({
    code,
    operation: GET_PROXIED,
    asked: proxied("api/", { headers: { authorization: `Bearer ${token}` } }),
    env: code === "TOKEN_KEYS_UNAVAILABLE" ? { ...TOKEN_ENV, JWT_JWKS_URL: "http://127.0.0.1:9/" } : SECRET_ENV,
  })),
  { code: "UPSTREAM_CREDENTIAL_MISSING", operation: GET_PROXIED, asked: proxied("openai/models") },
  {
    code: "ORIGIN_NOT_ALLOWED",
    operation: "GET /manage/services",
    asked: { headers: { ...operator, origin: "https://evil.example" } },
  },
  {
    code: "ORIGIN_NOT_ALLOWED",
    operation: "OPTIONS /proxy/{service}/{path}",
    asked: {
      path: "/proxy/api/",
      headers: { origin: "https://evil.example", "access-control-request-method": "PUT" },
    },
  },
  ...(["GET /status", "GET /metrics", "GET /docs", "GET /openapi.json"] as const).map((operation) => ({
    code: "HOST_NOT_ALLOWED" as const,
    operation,
    asked: { headers: { host: "evil.example" } },
  })),
  {
    code: "HOST_NOT_ALLOWED",
    operation: "GET /docs/{file}",
    asked: { path: "/docs/start.js", headers: { host: "evil.example" } },
  },
  {
    code: "HOST_NOT_ALLOWED",
    operation: "GET /proxy/services",
    env: { PROXY_API_KEY: "" },
    asked: { headers: { host: "evil.example" } },
  },
  { code: "EGRESS_NOT_ALLOWED", operation: GET_PROXIED, asked: proxied("metadata/") },
  {
    code: "EGRESS_NOT_ALLOWED",
    operation: "PUT /manage/services/{key}",
    asked: onOne("inside", { body: '{"baseUrl":"http://127.0.0.1:1/"}' }),
  },
  { code: "SERVICE_NOT_CONFIGURED", operation: GET_PROXIED, asked: proxied("githb/") },
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "GET /proxy/services/{service}/rate-limit",
    asked: proxied("services/nope/rate-limit"),
  },
  ...(["GET", "PATCH", "DELETE"] as const).map((method) => ({
    code: "SERVICE_NOT_CONFIGURED" as const,
    operation: `${method} /manage/services/{key}`,
    asked: onOne("nope", method === "PATCH" ? { body: "{}" } : {}),
  })),
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "POST /manage/services/{key}/test",
    asked: onOne("nope/test"),
  },
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "POST /manage/services/{key}/credential/refresh",
    asked: onOne("nope/credential/refresh"),
  },
  {
    code: "VALIDATION_ERROR",
    operation: "POST /manage/services/{key}/credential/refresh",
    asked: onOne("api/credential/refresh"),
  },
  ...(["PUT", "DELETE"] as const).flatMap((method) => [
    {
      code: "SERVICE_NOT_CONFIGURED" as const,
      operation: `${method} /manage/services/{key}/credential`,
      asked: onOne("nope/credential", method === "PUT" ? { body: "{}" } : {}),
    },
    {
      code: "VALIDATION_ERROR" as const,
      operation: `${method} /manage/services/{key}/credential`,
      asked: onOne("api/credential", method === "PUT" ? { body: "{}" } : {}),
    },
  ]),
  {
    code: "UPSTREAM_CREDENTIAL_UNAVAILABLE",
    operation: "POST /manage/services/{key}/credential/refresh",
    asked: onOne("commanded/credential/refresh"),
  },
  ...(["POST", "DELETE"] as const).flatMap((method) => [
    {
      code: "SERVICE_NOT_CONFIGURED" as const,
      operation: `${method} /manage/services/{key}/credential/rotate`,
      asked: onOne("nope/credential/rotate"),
    },
    {
      code: "CREDENTIAL_ROTATION_CONFLICT" as const,
      operation: `${method} /manage/services/{key}/credential/rotate`,
      asked: onOne("api/credential/rotate"),
    },
  ]),
  {
    code: "NEXT_CREDENTIAL_REFUSED",
    operation: "POST /manage/services/{key}/credential/rotate",
    asked: onOne("refusing/credential/rotate"),
  },
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "POST /manage/services/{key}/quota/reset",
    asked: onOne("nope/quota/reset"),
  },
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "POST /manage/services/{key}/rate-limit/reset",
    asked: onOne("nope/rate-limit/reset"),
  },
  { code: "NOT_FOUND", operation: "GET /docs/{file}", asked: { path: "/docs/nope.js" } },
  { code: "METHOD_NOT_ALLOWED", operation: "GET /health", asked: { method: "POST" } },
  { code: "METHOD_NOT_ALLOWED", operation: "GET /manage/services", asked: { method: "PUT", headers: operator } },
  { code: "METHOD_NOT_ALLOWED", operation: "POST /proxy/{service}/{path}", asked: proxied("reading/") },
  {
    code: "REQUEST_TIMEOUT",
    operation: "POST /proxy/{service}/{path}",
    bytes: `POST /proxy/slow/ HTTP/1.1\r\n${HOST}\r\nx-api-key: ${PROXY_KEY}\r\nContent-Length: 4\r\n\r\nab`,
  },
  {
    code: "DUPLICATE_ENTRY",
    operation: "POST /manage/services",
    asked: { headers: asJson, body: JSON.stringify({ key: "api", config: WEATHER }) },
  },
  { code: "READ_ONLY_SERVICE", operation: "DELETE /manage/services/{key}", asked: onOne("api") },
  ...(["PUT", "PATCH", "DELETE"] as const).map((method) => ({
    code: "PRECONDITION_FAILED" as const,
    operation: `${method} /manage/services/{key}`,
    asked: onOne("api", {
      headers: { ...asJson, "if-match": '"nope"' },
      ...(method === "DELETE" ? {} : { body: "{}" }),
    }),
  })),
  {
    code: "PRECONDITION_FAILED",
    operation: "PUT /manage/services/{key}",
    asked: onOne("nope", { headers: { ...asJson, "if-match": '"nope"' }, body: JSON.stringify(WEATHER) }),
  },
  {
    code: "PAYLOAD_TOO_LARGE",
    operation: "POST /manage/services",
    asked: { headers: asJson, body: " ".repeat(300_000) },
  },
  {
    code: "PAYLOAD_TOO_LARGE",
    operation: "PUT /proxy/{service}/{path}",
    asked: proxied("api/", { body: "x".repeat(1001) }),
  },
  {
    code: "PAYLOAD_TOO_LARGE",
    operation: "POST /manage/explain",
    asked: { headers: asJson, body: " ".repeat(300_000) },
  },
  { code: "INVALID_API_KEY", operation: "GET /manage/diagnostics", asked: { headers: caller } },
  {
    code: "UNSUPPORTED_MEDIA_TYPE",
    operation: "POST /manage/services",
    asked: { headers: { ...operator, "content-type": "text/plain" }, body: "{}" },
  },
  { code: "EXPECTATION_FAILED", operation: "GET /up", bytes: raw("GET /up", HOST, "Expect: more") },
  {
    code: "UPGRADE_NOT_ALLOWED",
    operation: GET_PROXIED,
    asked: proxied("api/", { headers: { ...caller, connection: "Upgrade", upgrade: "websocket" } }),
  },
  {
    code: "RATE_LIMIT_EXCEEDED",
    operation: GET_PROXIED,
    asked: proxied("limited/"),
    before: ({ gateway }) => ask(gateway.port, { method: "GET", path: "/proxy/limited/", headers: caller }),
  },
  {
    code: "BUDGET_EXCEEDED",
    operation: "POST /proxy/{service}/{path}",
    asked: SPENT,
    before: ({ gateway }) => ask(gateway.port, SPENT),
  },
  {
    code: "MODEL_NOT_ALLOWED",
    operation: GET_PROXIED,
    asked: proxied("api/?model=o3"),
    headersOf: (started) => issuedFor(started, { permissions: ["api:*"], models: ["gpt-4o*"] }),
  },
  {
    code: "INSUFFICIENT_PERMISSIONS",
    operation: GET_PROXIED,
    asked: proxied("api/"),
    headersOf: (started) => issuedFor(started, {}),
  },
  {
    code: "INSUFFICIENT_PERMISSIONS",
    operation: "POST /manage/reload",
    headersOf: (started) => issuedFor(started, { permissions: ["manage:read"] }),
  },
  {
    code: "IP_NOT_ALLOWED",
    operation: GET_PROXIED,
    asked: proxied("reading/"),
    headersOf: (started) => issuedFor(started, { allowIps: ["192.0.2.1"] }),
  },
  {
    code: "TOO_MANY_AUTH_FAILURES",
    operation: "GET /manage/keys",
    asked: { headers: { "x-api-key": "wrong" } },
    before: async ({ gateway }) => {
      for (let i = 0; i < 10; i++) {
        await ask(gateway.port, { method: "GET", path: "/manage/keys", headers: { "x-api-key": `guess-${i}` } });
      }
    },
  },
  { code: "NOT_FOUND", operation: "DELETE /manage/keys/{id}", asked: { path: "/manage/keys/no", headers: operator } },
  {
    code: "VALIDATION_ERROR",
    operation: "POST /manage/keys",
    asked: { headers: asJson, body: '{"name":"","permissions":["x"]}' },
  },
  {
    code: "UPSTREAM_QUOTA_EXHAUSTED",
    operation: GET_PROXIED,
    asked: proxied("held/"),
    before: ({ gateway }) => ask(gateway.port, { method: "GET", path: "/proxy/held/", headers: caller }),
  },
  {
    code: "SHUTTING_DOWN",
    operation: GET_PROXIED,
    asked: proxied("held/", { headers: { ...caller, prefer: "wait=600" } }),
    before: async ({ gateway }) => {
      await ask(gateway.port, { method: "GET", path: "/proxy/held/", headers: caller });
      void gateway.drain(1_000, 1);
    },
  },
  {
    code: "HEADERS_TOO_LARGE",
    operation: "GET /auth-status",
    bytes: raw("GET /auth-status", HOST, ...Array.from({ length: 300 }, (_, i) => `X-${i}: 1`)),
  },
  {
    code: "HEADERS_TOO_LARGE",
    operation: GET_PROXIED,
    bytes: raw("GET /proxy/api/", HOST, `X: ${"x".repeat(20_000)}`),
  },
  {
    code: "INTERNAL_ERROR",
    operation: "PUT /manage/services/{key}",
    asked: onOne("new", { body: JSON.stringify(WEATHER) }),
  },
  {
    code: "SERVICE_NOT_CONFIGURED",
    operation: "DELETE /manage/cache/{key}",
    asked: { path: "/manage/cache/nope", headers: operator },
  },
  {
    code: "NOT_IMPLEMENTED",
    operation: "POST /proxy/{service}/{path}",
    bytes: raw("POST /proxy/api/", HOST, "Transfer-Encoding: gzip, chunked"),
  },
  { code: "UPSTREAM_UNREACHABLE", operation: GET_PROXIED, asked: proxied("closed/") },
  { code: "UPSTREAM_TLS_ERROR", operation: GET_PROXIED, asked: proxied("plain/") },
  { code: "UPSTREAM_PROTOCOL_ERROR", operation: "DELETE /proxy/{service}/{path}", asked: proxied("garbled/") },
  { code: "REDIRECT_BLOCKED", operation: GET_PROXIED, asked: proxied("leaving/") },
  { code: "UPSTREAM_CREDENTIAL_UNAVAILABLE", operation: GET_PROXIED, asked: proxied("commanded/") },
  { code: "UNDER_PRESSURE", operation: GET_PROXIED, asked: proxied("api/"), env: { PRESSURE_MAX_RSS_BYTES: "1" } },
  {
    code: "CIRCUIT_OPEN",
    operation: GET_PROXIED,
    asked: proxied("broken/"),
    before: ({ gateway }) => ask(gateway.port, { method: "GET", path: "/proxy/broken/", headers: caller }),
  },
  { code: "UPSTREAM_TIMEOUT", operation: GET_PROXIED, asked: proxied("slow/slow") },
  {
    code: "NOT_CACHED",
    operation: GET_PROXIED,
    asked: proxied("cached/", { headers: { ...caller, "cache-control": "only-if-cached" } }),
  },
  {
    code: "IDEMPOTENCY_CONFLICT",
    operation: "POST /proxy/{service}/{path}",
    asked: proxied("once/slow", keyed),
    before: ({ gateway }) => ask(gateway.port, { method: "POST", path: "/proxy/once/slow", ...keyed }),
  },
  {
    code: "IDEMPOTENCY_MISMATCH",
    operation: "PATCH /proxy/{service}/{path}",
    asked: proxied("once/", keyed),
    before: ({ gateway }) => ask(gateway.port, { method: "POST", path: "/proxy/once/", ...keyed }),
  },
  { code: "STORE_UNAVAILABLE", operation: "POST /proxy/{service}/{path}", asked: proxied("once/", keyed) },
  { code: "LOOP_DETECTED", operation: "GET /health" },
  { code: "LOOP_DETECTED", operation: GET_PROXIED, asked: proxied("api/") },
];

describe("/openapi.json", () => {
  test("The document is valid OpenAPI 3.1", async () => {
    const document = await documentOf((await startGateway()).url);
    const validator = new Validator();
    const { valid, errors } = await validator.validate(structuredClone(document) as never);
    expect([valid, errors]).toEqual([true, undefined]);
    expect([validator.version, document.openapi]).toEqual(["3.1", "3.1.0"]);
  });

  test("The document describes all registered routes and no other", async () => {
    // Creating the routes uses none of the parts.
    const app = createControlPlane({} as ControlPlaneParts, { callers: true, operators: true, hosts: undefined });
    const registered = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
    const { operations } = contractOf(await documentOf((await startGateway()).url));
    const ofTheControlPlane = operations.filter((operation) => !operation.endsWith("/proxy/{service}/{path}"));
    expect(ofTheControlPlane.sort()).toEqual([...new Set(registered)].sort());
    expect(operations.length - ofTheControlPlane.length).toBe(7);
  });

  test("The document names each operation once, with its tag and its key", async () => {
    const { operations, operation } = contractOf(await documentOf((await startGateway()).url));
    const all = operations.map((name) => ({ name, ...operation(name) }));
    expect(new Set(all.map(({ operationId }) => operationId)).size).toBe(all.length);
    for (const { name, tags, security } of all) {
      expect(tags, name).toHaveLength(1);
      const key = / \/(?:proxy|manage)\//.exec(name)?.[0];
      expect(JSON.stringify(security).includes("KeyBearer"), name).toBe(key !== undefined || name === "GET /status");
    }
  });

  test("The document lists every code of the catalog, and each code belongs to an operation", async () => {
    const { components } = await documentOf((await startGateway()).url);
    const codes = Object.keys(CATALOG);
    expect(components.schemas.Error.properties.code.enum).toEqual(codes);
    const answers = JSON.stringify(components.responses);
    expect(codes.filter((code) => !answers.includes(`"${code}"`))).toEqual([]);
  });

  test("The schema of a service is that of the services file", async () => {
    const { components } = await documentOf((await startGateway()).url);
    const inFile = JSON.parse(
      JSON.stringify(servicesFileJsonSchema().properties?.services?.additionalProperties, (name, value) =>
        name === "allowed" ? undefined : value,
      ),
    );
    expect(components.schemas.Service).toMatchObject(inFile);
    expect(components.schemas.Service.additionalProperties).toBe(false);
  });

  test("Every example is valid by its schema", async () => {
    const document = await documentOf((await startGateway()).url);
    const { operations, operation, problemsOfValue } = contractOf(document);
    const contents = operations.flatMap((name) => {
      const { responses, requestBody } = operation(name);
      return [...Object.values(responses), ...(requestBody === undefined ? [] : [requestBody])];
    });
    let count = 0;
    for (const { content = {} } of [...contents, ...Object.values(document.components.responses)]) {
      for (const media of Object.values(content)) {
        const examples = Object.values(media.examples ?? {}).map(({ value }) => value);
        if (media.example !== undefined) examples.push(media.example);
        for (const example of examples) expect(problemsOfValue(media, example), JSON.stringify(example)).toEqual([]);
        count += examples.length;
      }
    }
    expect(count).toBeGreaterThan(60);
  });

  test("The document is served on the operators' listener only, and is the same with one or two listeners", async () => {
    const one = await startGateway({ env: KEYS });
    const two = await startGateway({ env: { ...KEYS, MANAGEMENT_PORT: "0" } });
    expect(await documentOf(two.managementUrl as string)).toEqual(await documentOf(one.url));
    for (const path of ["/openapi.json", "/docs", "/docs/start.js"]) {
      expect((await fetch(two.url + path)).status, path).toBe(404);
      expect((await fetch(two.managementUrl + path)).status, path).toBe(200);
    }
    const linksAt = async (url: string) => ((await (await fetch(url)).json()) as { links: object }).links;
    expect(await linksAt(two.managementUrl as string)).toMatchObject({ docs: "/docs", openapi: "/openapi.json" });
    expect(await linksAt(two.url)).not.toHaveProperty("docs");
  });
});

describe("documented responses", () => {
  test("A successful response of each operation matches the document", async () => {
    const stores = storesThatFail("NOT_FOUND");
    await stores.keys.put("key_1", ISSUED);
    const { gateway, contract } = await start({ CORS_ORIGINS: "https://app.example" }, { stores });
    for (const [operation, status, asked = {}] of SUCCESSES) {
      const [method = "", path = ""] = operation.split(" ");
      const answer = await ask(gateway.port, { method, path, ...asked });
      expect(answer.status, `${operation}: ${answer.body.slice(0, 300)}`).toBe(status);
      expectPromised(contract, operation, answer);
    }
    expect([...new Set(SUCCESSES.map(([operation]) => operation))].sort()).toEqual([...contract.operations].sort());
  });

  test("The responses of a gateway under pressure or draining match the document", async () => {
    const pressed = await start({ PRESSURE_MAX_RSS_BYTES: "1" });
    for (const [path, status] of [
      ["/up", 503],
      ["/status", 200],
    ] as const) {
      const answer = await ask(pressed.gateway.port, { method: "GET", path });
      expect(answer.status).toBe(status);
      expectPromised(pressed.contract, `GET ${path}`, answer);
    }
    const { gateway, contract } = await start();
    const drained = gateway.drain(500, 1_000);
    const ready = () => ask(gateway.port, { method: "GET", path: "/health/ready" });
    expectPromised(contract, "GET /health/ready", await eventually(async () => unlessWell(await ready())));
    expectPromised(contract, "GET /status", await ask(gateway.port, { method: "GET", path: "/status" }));
    await drained;
  });

  test("An error response from an upstream matches the document", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(429, { "content-type": "text/html" }).end("no"));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 0 } } });
    const answer = await ask(gateway.port, { method: "GET", path: "/proxy/api/" });
    expect([answer.status, answer.body]).toEqual([429, "no"]);
    expectPromised(contractOf(await documentOf(gateway.url)), GET_PROXIED, answer);
  });

  test.each(REFUSALS)("The response of $operation with $code matches the document", async (refusal) => {
    const { code, operation, env, before } = refusal;
    const started = await start({ CORS_ORIGINS: "https://app.example", ...env }, { stores: storesThatFail(code) });
    await before?.(started);
    const headers = await refusal.headersOf?.(started);
    const answer = await refuse(
      started,
      headers === undefined ? refusal : { ...refusal, asked: { ...refusal.asked, headers } },
    );
    expect([answer.status, answer.headers.get("x-proxy-error")]).toEqual([CATALOG[code].status, code]);
    expectPromised(started.contract, operation, answer);
  });

  test("The tests cause every error code", () => {
    const provoked = new Set(REFUSALS.map(({ code }) => code));
    expect(Object.keys(CATALOG).filter((code) => !provoked.has(code as ErrorCode))).toEqual([]);
  });

  test("A response that does not match the document is detected", async () => {
    const { contract } = await start();
    const body = JSON.stringify({
      status: "ok",
      uptime: 1,
      timestamp: new Date().toISOString(),
      version: "1",
      more: 1,
    });
    const headers = new Headers({ "content-type": "application/json", "x-proxy-request-id": "1" });
    expect(contract.problemsOf("GET /health", { status: 200, headers, body })).toHaveLength(1);
    expect(contract.problemsOf("GET /health", { status: 202, headers, body })).toHaveLength(1);
    headers.delete("x-proxy-request-id");
    expect(contract.problemsOf("GET /health", { status: 200, headers, body })).toHaveLength(2);
  });
});

async function refuse(
  { gateway, upstream }: { gateway: TestGateway; upstream: { requests: unknown[] } },
  refusal: Refusal,
) {
  const { bytes, code, operation, asked = {} } = refusal;
  if (bytes !== undefined) return askRaw(gateway.port, bytes);
  const [method = "", path = ""] = operation.split(" ");
  const request = { method, path, ...asked };
  if (code !== "LOOP_DETECTED") return ask(gateway.port, request);
  // The Via header that the upstream received identifies a loop.
  await ask(gateway.port, { method: "GET", path: "/proxy/api/", headers: caller });
  const { via } = (upstream.requests[0] as { headers: { via: string } }).headers;
  return ask(gateway.port, { ...request, headers: { ...request.headers, via } });
}

function unlessWell(answer: Observed): Observed | undefined {
  return answer.status === 503 ? answer : undefined;
}

/** Stores that refuse every change, if the test is for INTERNAL_ERROR. */
function storesThatFail(code: ErrorCode) {
  const stores = createMemoryStores<StoredService, AuditEntry, StoredKey>();
  if (code === "STORE_UNAVAILABLE") {
    const claim = () => Promise.reject(new Error("the disk is full"));
    return { ...stores, claims: { ...stores.claims, claim } };
  }
  if (code !== "INTERNAL_ERROR") return stores;
  const services = createRecords<StoredService>(() => Promise.reject(new Error("the disk is full")));
  return { ...stores, services };
}
