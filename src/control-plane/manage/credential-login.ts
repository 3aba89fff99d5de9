/**
 * `PUT` and `DELETE /manage/services/{key}/credential`: what `byteproxy login` obtained becomes the credential of a service, or is removed.
 * Invariant: the token is durable before the response, and is in no response, log or audit entry.
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import type { LoginToken } from "../../data-plane/credential/credential-provider.ts";
import { GatewayError } from "../../errors.ts";
import { isObject } from "../../is-object.ts";
import { BODY_CODES, forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";
import { readJson } from "./read-json.ts";

const TOKEN_LENGTH_LIMIT = 16_384;
const token = { type: "string", minLength: 1, maxLength: TOKEN_LENGTH_LIMIT } as const;

/** Described here, and checked by `readLogin`: a check before the route would leave no body to read in time. */
const LOGIN = {
  type: "object",
  additionalProperties: false,
  minProperties: 1,
  properties: {
    refreshToken: { ...token, description: "the refresh token that the provider issued" },
    accessToken: {
      ...token,
      description:
        "instead of `refreshToken`: an access token that does not expire, of a provider that issues no other",
    },
    scope: { type: "string", maxLength: 1_024, description: "with `accessToken`: the scope as it was granted" },
  },
} as const;

const CODES = ["SERVICE_NOT_CONFIGURED", ...BODY_CODES, "STORE_UNAVAILABLE"] as const satisfies readonly Parameters<
  typeof forOperators
>[1][];

const put = createRoute({
  method: "put",
  path: "/services/{key}/credential",
  operationId: "storeLogin",
  summary: "Store what a login obtained",
  description:
    "Only for a service whose `auth` has `refreshToken: login`. The token replaces that of an earlier login. `byteproxy login` sends this request.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", ...CODES),
  request: {
    body: {
      required: true,
      content: { "application/json": { schema: LOGIN, example: { refreshToken: "a-refresh-token-of-the-provider" } } },
    },
  },
  responses: { 204: { description: "The token is stored. Later requests are sent with access tokens of this login." } },
});

const remove = createRoute({
  method: "delete",
  path: "/services/{key}/credential",
  operationId: "removeLogin",
  summary: "Remove what a login obtained",
  description: "The provider does not learn of it: revoke the access there, too.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "VALIDATION_ERROR", "STORE_UNAVAILABLE"),
  responses: { 204: { description: "Later requests are refused with 401 `UPSTREAM_CREDENTIAL_MISSING`." } },
});

export function addCredentialLoginRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { audit } = parts;
  routes.openapi(put, async (context) => {
    const key = context.req.param("key");
    findSetter(key, parts);
    const login = readLogin(await readJson(context));
    // Again: the service may have changed while the body arrived.
    await store(findSetter(key, parts)(login));
    const kind = login.isAccessToken ? "access token" : "refresh token";
    await audit.record(authorOf(context, parts), { action: "credential.login", subject: key, after: { kind } });
    return context.body(null, 204);
  });
  routes.openapi(remove, async (context) => {
    const key = context.req.param("key");
    await store(findSetter(key, parts)(undefined));
    await audit.record(authorOf(context, parts), { action: "credential.logout", subject: key });
    return context.body(null, 204);
  });
}

/** @throws GatewayError SERVICE_NOT_CONFIGURED, VALIDATION_ERROR */
function findSetter(key: string, { registry, loadOf }: Pick<ControlPlaneParts, "registry" | "loadOf">) {
  if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
  const { setLogin } = loadOf(key).credential;
  if (setLogin !== undefined) return setLogin;
  throw new GatewayError("VALIDATION_ERROR", {
    message: `The credential of ${key} does not come from a login, or the gateway lacks a secret of its client.`,
    hint: 'Only a service of type oauth2 with "refreshToken": "login" has one. Set its client secret first.',
  });
}

/** No part of the body is in the refusal. @throws GatewayError VALIDATION_ERROR */
function readLogin(body: unknown): LoginToken {
  const { refreshToken, accessToken, scope, ...others } = isObject(body) ? body : {};
  if (Object.keys(others).length === 0) {
    if (isToken(refreshToken) && accessToken === undefined && scope === undefined) {
      return { token: refreshToken, isAccessToken: false };
    }
    if (isToken(accessToken) && refreshToken === undefined && (scope === undefined || isScope(scope))) {
      return { token: accessToken, isAccessToken: true, scope };
    }
  }
  const allowed = "an object with refreshToken, or with accessToken and an optional scope";
  throw new GatewayError("VALIDATION_ERROR", {
    message: `The body is not valid, allowed: ${allowed}.`,
    extra: { details: { body: [`allowed: ${allowed}`] } },
  });
}

const isToken = (value: unknown): value is string =>
  typeof value === "string" && value !== "" && value.length <= TOKEN_LENGTH_LIMIT;

const isScope = (value: unknown): value is string => typeof value === "string" && /^[\x20-\x7e]{0,1024}$/.test(value);

/** @throws GatewayError */
async function store(change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("STORE_UNAVAILABLE", {
      message: "The login could not be stored. Nothing was changed.",
      cause: error,
    });
  }
}
