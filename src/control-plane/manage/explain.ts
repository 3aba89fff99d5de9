/**
 * `POST /manage/explain`: what the gateway would do with a request, step by step.
 * Invariant: nothing is sent, spent or reserved, and the response contains no secret.
 */

import { validateHeaderName, validateHeaderValue } from "node:http";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { parseClientCert } from "../../callers/client-certificate.ts";
import type { ServiceAddress } from "../../config/service-addresses.ts";
import type { RequestToExplain } from "../../data-plane/dry-run/explanation.ts";
import { GatewayError } from "../../errors.ts";
import { isObject } from "../../is-object.ts";
import { isProxied } from "../../perimeter/parser.ts";
import { maskTexts } from "../../telemetry/redact.ts";
import { CredentialCommand, CredentialRotation, CredentialState, ExplainedPool } from "../credential-schema.ts";
import { DescribedSecrets } from "../openapi/described-secrets.ts";
import { BODY_CODES, forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { Breaker } from "../service-status.ts";
import { EXPLAINED_SPEND } from "./explained-spend.ts";
import { readJson } from "./read-json.ts";

type Header = readonly [name: string, value: string];

const Refusal = z.strictObject({ status: z.int(), code: z.string(), message: z.string(), hint: z.string() });

const headers = z.array(z.strictObject({ name: z.string(), value: z.string() })).readonly();

const Explained = z
  .strictObject({
    verdict: z.enum(["forward", "refuse", "preflight"]).describe("`preflight`: the gateway responds with 204"),
    refusal: Refusal.nullable().describe("the error that the client would get from the gateway"),
    request: z.strictObject({
      method: z.string(),
      path: z.string().describe("the values of the query are masked"),
      address: z.string(),
      caller: z.string().nullable().describe("null if no caller is authenticated"),
    }),
    service: z.string().nullable(),
    keyPlaces: z
      .array(z.string())
      .readonly()
      .nullable()
      .describe("where the service accepts a caller's key: `header x-goog-api-key`; null for an unknown service"),
    steps: z
      .array(
        z.strictObject({
          step: z.string(),
          verdict: z.enum(["pass", "refuse"]),
          reached: z.boolean().describe("`false` after the first refusal"),
          refusal: Refusal.optional(),
        }),
      )
      .readonly(),
    hooks: z
      .array(z.string())
      .readonly()
      .nullable()
      .describe("user hooks that would run before the request is sent and might change or refuse it; none is run here"),
    upstream: z
      .strictObject({
        method: z.string(),
        url: z.string(),
        transport: z.enum(["http", "http2", "websocket"]),
        headers: z
          .strictObject({ added: headers, removed: z.array(z.string()).readonly(), kept: headers })
          .describe(
            "the differences between the client's and the upstream's request; values that may be secret are `***`",
          ),
        proxy: z.string().nullable().describe("the egress proxy, without its credential; null for a direct connection"),
        timeoutMs: z.int(),
        connectTimeoutMs: z.int(),
        retries: z.int(),
      })
      .nullable(),
    credential: z
      .strictObject({
        state: CredentialState,
        type: z.string().nullable(),
        place: z
          .string()
          .nullable()
          .describe("`header Authorization`, `query key`, `path /bot{token}`; several are joined by commas"),
        source: z.string().nullable(),
        fingerprint: z.string().nullable(),
        secrets: DescribedSecrets.optional(),
        command: CredentialCommand.optional().describe(
          "where a command prints the secret; an explanation never runs it",
        ),
        rotation: CredentialRotation.optional().describe("where a next secret is set"),
        pool: ExplainedPool.optional().describe("which of several credentials would be used, and why"),
      })
      .nullable(),
    rateLimit: z
      .strictObject({
        per: z.enum(["service", "caller", "ip"]),
        limit: z.int(),
        remaining: z.int().describe("before this request"),
        resetIn: z.int().describe("seconds"),
        waitMs: z
          .int()
          .optional()
          .describe(
            "time that the request would wait for the limit; only with `onLimit: wait`, unless it would be refused",
          ),
        position: z.int().optional().describe("its position in the queue; 0 if it would not wait"),
      })
      .nullable(),
    ...EXPLAINED_SPEND,
    breaker: Breaker.nullable(),
    cache: z
      .strictObject({
        state: z
          .enum(["hit", "stale", "validate", "miss", "bypass"])
          .describe("`validate`: a response is stored, and the upstream would be asked whether it is still valid"),
        age: z.int().nullable().describe("seconds"),
      })
      .nullable()
      .describe("what the cache has for the request; null for a service without one"),
    idempotency: z
      .strictObject({
        state: z
          .enum(["off", "first", "replay"])
          .describe(
            "`off`: passes as without idempotency; `first`: would be sent; `replay`: would get the kept response, if its body is the first request's",
          ),
      })
      .nullable()
      .describe("for a service with `idempotency`"),
    quota: z
      .strictObject({ bucket: z.string(), waitMs: z.int().describe("how long the request would be held") })
      .nullable()
      .describe("for a service with `quota.mode: hold`"),
  })
  .openapi("Explanation");

const texts = { oneOf: [{ type: "string" as const }, { type: "array" as const, items: { type: "string" as const } }] };

const REQUEST_BODY = {
  type: "object" as const,
  additionalProperties: false,
  required: ["method", "path"],
  properties: {
    method: { type: "string" as const, pattern: "^[A-Z-]{1,32}$" },
    path: {
      type: "string" as const,
      description:
        "The path and query of the request: beginning with `/proxy/`, or any path if `Host` or `port` belong to one service.",
    },
    headers: { type: "object" as const, additionalProperties: texts },
    port: {
      type: "integer" as const,
      description:
        "The `port` of a service, for a request to it; without this, the request is one to the main listener.",
    },
    caller: {
      type: "string" as const,
      description: "Used instead of the caller that the headers authenticate: `proxy-key`.",
    },
    clientCert: {
      type: "string" as const,
      description:
        "The client certificate of the connection, as in a key: its SHA-256 fingerprint, or a URI or DNS name.",
    },
  },
};

const route = createRoute({
  method: "post",
  path: "/explain",
  operationId: "explain",
  summary: "Explain what would happen to a request",
  description: "Runs the steps of a real request without sending, spending or reserving anything.",
  ...forOperators("Management", ...BODY_CODES),
  request: {
    body: {
      required: true,
      content: { "application/json": { schema: REQUEST_BODY, example: { method: "GET", path: "/proxy/echo/hello" } } },
    },
  },
  responses: {
    200: json(
      "The verdict of each step.",
      Explained,
      {
        verdict: "refuse",
        service: "echo",
        keyPlaces: ["Authorization: Bearer <key>", "x-api-key: <key>", "?api_key=<key>"],
        hooks: null,
        upstream: null,
        credential: null,
        rateLimit: null,
        budgets: [],
        models: null,
        breaker: null,
        cache: null,
        idempotency: null,
        quota: null,
        request: { method: "GET", path: "/proxy/echo/../hello", address: "127.0.0.1", caller: "proxy-key" },
        refusal: { status: 400, code: "INVALID_PATH", message: "The path contains a dot segment.", hint: "Request …" },
        steps: [{ step: "framing", verdict: "pass", reached: true }],
      },
      NO_STORE,
    ),
  },
});

export function addExplainRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  routes.openapi(route, async (context) => {
    const { incoming } = context.env;
    const explanation = await parts.explain({
      ...readRequest(await readJson(context), incoming.headers.host, parts.serviceAddresses()),
      address: parts.clients.addressOf(incoming),
    });
    context.header("Cache-Control", "no-store");
    // A path may contain a key, percent-encoded or not, and it is in several places of the response.
    return context.json(maskTexts(explanation, parts.mask), 200);
  });
}

/** @param host of the request that asks: every real request has one. @throws GatewayError VALIDATION_ERROR */
function readRequest(
  body: unknown,
  host: string | undefined,
  addresses: ReturnType<ControlPlaneParts["serviceAddresses"]>,
): Omit<RequestToExplain, "address"> {
  const { method, path, headers = {}, port, caller, clientCert, ...others } = isObject(body) ? body : {};
  const details: Record<string, string[]> = {};
  const read = withHost(readHeaders(headers), port === undefined ? host : `localhost:${port}`);
  const portAddress = typeof port === "number" ? addresses.findPort(port) : undefined;
  const serviceAddress = addresses.find(hostIn(read)) ?? portAddress;
  if (!isMethod(method)) details.method = ["allowed: the name of a method, such as GET"];
  if (!isTarget(path, serviceAddress)) {
    details.path = [
      "allowed: a path that begins with /proxy/<service>, and its query; any path at a service's own host or port",
    ];
  }
  if (port !== undefined && portAddress === undefined) details.port = ["allowed: the port of a service"];
  if (caller !== undefined && typeof caller !== "string") details.caller = ["allowed: the id of a caller"];
  const certificate = parseClientCert(typeof clientCert === "string" ? clientCert : "");
  if (clientCert !== undefined && "problem" in certificate) details.clientCert = [certificate.problem];
  if (read === undefined) details.headers = ["allowed: an object of header names and values, or lists of values"];
  for (const name of Object.keys(others)) {
    details[name.slice(0, 64)] = ["unknown, allowed: method, path, headers, port, caller, clientCert"];
  }
  if (Object.keys(details).length === 0) {
    return {
      method: method as string,
      target: path as string,
      headers: read ?? [],
      serviceAddress,
      callerId: caller as string | undefined,
      clientCert: "problem" in certificate ? undefined : certificate.clientCert,
    };
  }
  throw new GatewayError("VALIDATION_ERROR", {
    message: "The body does not have the form {method, path, headers, port, caller, clientCert}.",
    extra: { details },
  });
}

const isMethod = (value: unknown) => typeof value === "string" && /^[A-Z-]{1,32}$/.test(value);

/** Accepts every text that a client could send in a request line, even if the gateway would refuse it. */
const isTarget = (value: unknown, address: ServiceAddress | undefined) =>
  typeof value === "string" && /^[\x21-\x7e\x80-\xff]+$/.test(value) && isProxied(value, address);

const isHost = ([name]: Header) => name.toLowerCase() === "host";
/** The first one, as the parser reads it. */
const hostIn = (headers: readonly Header[] | undefined) => headers?.find(isHost)?.[1];

function withHost(headers: readonly Header[] | undefined, host: string | undefined): readonly Header[] | undefined {
  return headers === undefined || host === undefined || headers.some(isHost) ? headers : [["Host", host], ...headers];
}

function readHeaders(headers: unknown): readonly Header[] | undefined {
  if (!isObject(headers)) return undefined;
  const read = Object.entries(headers).flatMap(([name, value]) => [value].flat().map((each) => [name, each] as Header));
  return read.every(isHeader) ? read : undefined;
}

function isHeader([name, value]: Header): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return typeof value === "string";
  } catch {
    return false;
  }
}
