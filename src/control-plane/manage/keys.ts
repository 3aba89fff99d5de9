/**
 * `/manage/keys`: the keys that operators issue.
 * Invariant: the text of a key is in one response only, to the operator who created or rotated it.
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { ListedKey } from "../../callers/issued-keys.ts";
import { MODEL_PATTERNS_LIMIT } from "../../callers/model-patterns.ts";
import { LONGEST_TIMER_MS } from "../../config/schema.ts";
import { BUDGET_TOKENS_LIMIT, PERIODS } from "../../config/token-budget.ts";
import { BODY_CODES, forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";
import { listInChunks } from "./list-in-chunks.ts";
import { readJson } from "./read-json.ts";

const ITEM = {
  id: z.string().describe("the id of the caller in the log"),
  name: z.string(),
  permissions: z.array(z.string()).readonly(),
  state: z.enum(["active", "expired", "revoked"]),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  expiresAt: z.iso.datetime().nullable(),
  revokedAt: z.iso.datetime().nullable(),
  graceUntil: z.iso.datetime().nullable().describe("the old key works until then, after a rotation"),
  rateLimit: z.strictObject({ maxRequests: z.int(), windowMs: z.int() }).nullable(),
  allowIps: z.array(z.string()).readonly(),
  clientCert: z.string().nullable().describe("the key is valid only on a connection with this client certificate"),
  budget: z.strictObject({ tokens: z.int(), per: z.enum(PERIODS) }).nullable(),
  models: z.array(z.string()).readonly().nullable().describe("patterns for the models that it may ask for"),
  uses: z.int(),
  lastUsedAt: z.iso.datetime().nullable(),
};
const WARNINGS = {
  warnings: z
    .array(z.string())
    .optional()
    .describe("permissions for services that do not exist, and other reasons why the key may not work"),
};
const Item = z.strictObject(ITEM).openapi("IssuedKey");

const Changed = z.strictObject({ ...ITEM, ...WARNINGS }).openapi("ChangedIssuedKey");

const Issued = z
  .strictObject({ ...ITEM, key: z.string().describe("shown only once"), ...WARNINGS })
  .openapi("NewIssuedKey");

const EXAMPLE = {
  id: "key_4fT9kQ2mXa81",
  name: "ci",
  permissions: ["github:read"],
  state: "active" as const,
  createdAt: "2026-11-21T16:00:00.000Z",
  createdBy: "management-key",
  expiresAt: null,
  revokedAt: null,
  graceUntil: null,
  rateLimit: null,
  allowIps: [],
  clientCert: null,
  budget: null,
  models: null,
  uses: 0,
  lastUsedAt: null,
};
const SHOWN_ONCE = { ...EXAMPLE, key: "bp_Zk3uY7cQ1mVbT9xW5nR8sL2dF6hJ4g0aQ9Z1b" };

const texts = { type: "array" as const, items: { type: "string" as const } };
const CHANGE = {
  name: { type: "string" as const, minLength: 1, maxLength: 100 },
  permissions: { ...texts, minItems: 1, maxItems: 50, description: "`github:read`, `github:GET:/repos/acme/**`" },
  expiresAt: { type: ["string", "null"] as ("string" | "null")[], description: "an RFC 3339 time in the future" },
  rateLimit: {
    type: ["object", "null"] as ("object" | "null")[],
    additionalProperties: false,
    required: ["maxRequests", "windowMs"],
    properties: {
      maxRequests: { type: "integer" as const, minimum: 1, maximum: 1_000_000_000 },
      windowMs: { type: "integer" as const, minimum: 1_000, maximum: LONGEST_TIMER_MS },
    },
  },
  allowIps: { ...texts, maxItems: 50, description: "addresses and CIDRs; an empty list allows all" },
  clientCert: {
    type: ["string", "null"] as ("string" | "null")[],
    maxLength: 512,
    description: "SHA-256 fingerprint of a client certificate, or one of its URI or DNS names; see TLS_CLIENT_CA_FILE",
  },
  budget: {
    type: ["object", "null"] as ("object" | "null")[],
    additionalProperties: false,
    required: ["tokens", "per"],
    properties: {
      tokens: { type: "integer" as const, minimum: 1, maximum: BUDGET_TOKENS_LIMIT },
      per: { type: "string" as const, enum: [...PERIODS] },
    },
    description: "tokens of language models in an hour, a day or a month, in UTC",
  },
  models: {
    type: ["array", "null"] as ("array" | "null")[],
    items: { type: "string" as const, minLength: 1, maxLength: 200 },
    minItems: 1,
    maxItems: MODEL_PATTERNS_LIMIT,
    description: "patterns such as `gpt-4o*` for the `model` of request bodies",
  },
};
const body = (schema: object, example: object) => ({
  body: { required: true, content: { "application/json": { schema, example } } },
});
const ID_IN_PATH = { $ref: "#/components/parameters/KeyId" };

const listRoute = createRoute({
  method: "get",
  path: "/keys",
  operationId: "listKeys",
  summary: "List the keys, newest first",
  ...forOperators("Keys"),
  responses: {
    200: json(
      "The keys, without their texts.",
      z.strictObject({ keys: z.array(Item), count: z.int() }),
      { keys: [EXAMPLE], count: 1 },
      NO_STORE,
    ),
  },
});
const createKeyRoute = createRoute({
  method: "post",
  path: "/keys",
  operationId: "createKey",
  summary: "Issue a key",
  description: "An issued key can only create keys with at most its own permissions, expiry and limits.",
  ...forOperators("Keys", ...BODY_CODES, "PRECONDITION_FAILED"),
  request: body(
    { type: "object", additionalProperties: false, required: ["name", "permissions"], properties: CHANGE },
    { name: "ci", permissions: ["github:read"] },
  ),
  responses: { 201: json("The new key. Its text is shown only once.", Issued, SHOWN_ONCE, NO_STORE) },
});
const readRoute = createRoute({
  method: "get",
  path: "/keys/{id}",
  operationId: "readKey",
  summary: "Get a key",
  parameters: [ID_IN_PATH],
  ...forOperators("Keys", "NOT_FOUND"),
  responses: { 200: json("The key, without its text.", Item, EXAMPLE, NO_STORE) },
});
const changeRoute = createRoute({
  method: "patch",
  path: "/keys/{id}",
  operationId: "changeKey",
  summary: "Change a key",
  description: "Members that are left out stay unchanged. The change applies from the next request on.",
  parameters: [ID_IN_PATH],
  ...forOperators("Keys", ...BODY_CODES, "NOT_FOUND", "PRECONDITION_FAILED"),
  request: body(
    { type: "object", additionalProperties: false, properties: CHANGE },
    { permissions: ["github:GET:/repos/acme/**"] },
  ),
  responses: { 200: json("The changed key, without its text.", Changed, EXAMPLE, NO_STORE) },
});
const revokeRoute = createRoute({
  method: "delete",
  path: "/keys/{id}",
  operationId: "revokeKey",
  summary: "Revoke a key",
  parameters: [ID_IN_PATH],
  ...forOperators("Keys", "NOT_FOUND"),
  responses: { 204: { description: "The key is revoked, or was revoked before." } },
});
const rotateRoute = createRoute({
  method: "post",
  path: "/keys/{id}/rotate",
  operationId: "rotateKey",
  summary: "Rotate a key",
  parameters: [ID_IN_PATH],
  ...forOperators("Keys", ...BODY_CODES, "NOT_FOUND", "PRECONDITION_FAILED"),
  request: {
    body: {
      required: false,
      content: {
        "application/json": {
          schema: {
            type: "object",
            additionalProperties: false,
            properties: { graceSeconds: { type: "integer", minimum: 0, maximum: 2_592_000, default: 0 } },
          },
          example: { graceSeconds: 3_600 },
        },
      },
    },
  },
  responses: { 200: json("The new key. Its text is shown only once.", Issued, SHOWN_ONCE, NO_STORE) },
});

/** Keys in one chunk of a long list; a shorter list is one response with a Content-Length. */
const CHUNK_KEYS = 500;

export function addKeyRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { keyChanges: changes } = parts;

  routes.use("/keys", noStore);
  routes.use("/keys/*", noStore);
  routes.openapi(listRoute, async (context) => {
    const keys = await changes.list();
    if (keys.length <= CHUNK_KEYS) return context.json({ keys: keys.map(show), count: keys.length }, 200);
    // `never`, because a stream has no typed response.
    const list = listInChunks({ name: "keys", items: keys, show, chunk: CHUNK_KEYS });
    return context.body(list, 200, { "Content-Type": "application/json" }) as never;
  });
  routes.openapi(readRoute, (context) => context.json(show(changes.read(context.req.param("id"))), 200));
  routes.openapi(createKeyRoute, async (context) => {
    const { key, item } = await changes.create(await readJson(context), authorOf(context, parts));
    return context.json({ ...show(item), key, ...warningsOf(item, parts) }, 201);
  });
  routes.openapi(changeRoute, async (context) => {
    const body = await readJson(context);
    const item = await changes.change(context.req.param("id"), body, authorOf(context, parts));
    return context.json({ ...show(item), ...warningsOf(item, parts) }, 200);
  });
  routes.openapi(revokeRoute, async (context) => {
    await changes.revoke(context.req.param("id"), authorOf(context, parts));
    return context.body(null, 204);
  });
  routes.openapi(rotateRoute, async (context) => {
    const { headers } = context.env.incoming;
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    const body = hasBody ? await readJson(context) : {};
    const { key, item } = await changes.rotate(context.req.param("id"), body, authorOf(context, parts));
    return context.json({ ...show(item), key }, 200);
  });
}

const noStore: Parameters<OpenAPIHono<CallerEnv>["use"]>[1] = async (context, next) => {
  await next();
  context.header("Cache-Control", "no-store");
};

const NO_CLIENT_CERTIFICATES = "no client can use this key: client certificates need TLS_CLIENT_CA_FILE";

/** A permission for a service that is added later is allowed, but it is more likely a typing error. */
function warningsOf(
  { permissions, clientCert }: ListedKey,
  { registry, certificate }: ControlPlaneParts,
): { warnings?: string[] } {
  const warnings = [...registry.reviewPermissions(permissions)];
  if (clientCert !== null && certificate?.needsClientCertificate !== true) warnings.push(NO_CLIENT_CERTIFICATES);
  return warnings.length === 0 ? {} : { warnings };
}

function show(item: ListedKey) {
  const { permissions, allowIps, models } = item;
  return { ...item, permissions: [...permissions], allowIps: [...allowIps], models: models && [...models] };
}
