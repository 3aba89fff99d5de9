/**
 * `/manage/key-debug`: why a key is refused. It shows which keys are set, which keys this request has, and what they permit.
 * Invariant: the response contains no part of a key. A fingerprint can be compared, but not reversed.
 */
import type { IncomingMessage } from "node:http";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { decideCertificate } from "../../callers/decide-permission.ts";
import type { FoundKey } from "../../callers/key-index.ts";
import { digestOf, findStrayKey, KEY_FORM_NAMES, presentedKeysOf, queryOf } from "../../callers/presented-keys.ts";
import { hasTokenForm } from "../../callers/token-form.ts";
import type { TokenVerdict } from "../../callers/token-verifier.ts";
import type { Plane } from "../../callers/unauthenticated.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { type CallerEnv, socketOf } from "../require-caller.ts";

/** Per place. Without a limit, a client could test many keys with one request. */
const SHOWN_LIMIT = 3;

const Key = z.strictObject({ configured: z.boolean(), protected: z.boolean(), fingerprint: z.string().nullable() });

const Issued = z.strictObject({
  id: z.string(),
  name: z.string(),
  state: z
    .enum(["active", "expired", "revoked"])
    .describe("the state of this text; the key before a rotation has its own expiry"),
  permissions: z.array(z.string()),
  allowsAddress: z.boolean().describe("whether the key may be used from the address of this request"),
  allowsCertificate: z.boolean().describe("whether this connection has the certificate that the key needs, if any"),
});

const Token = z.strictObject({
  state: z.enum(["valid", "expired", "invalid", "unavailable"]).describe("`unavailable`: the issuer's keys are"),
  caller: z.string().nullable().describe("of a valid token, as this and the next members"),
  permissions: z.array(z.string()),
  expiresAt: z.iso.datetime().nullable(),
});

const KeyDebug = z.strictObject({
  keys: z.strictObject({
    proxy: Key,
    management: Key,
    tokens: z.strictObject({ configured: z.boolean().describe("whether the gateway accepts JSON Web Tokens") }),
    issued: z
      .strictObject({ configured: z.boolean(), proxy: z.int(), management: z.int() })
      .describe("the number of issued keys in any state, by plane"),
  }),
  presented: z.array(
    z.strictObject({
      where: z.string().describe("`Authorization`, `x-api-key`, `api_key`, or a place of the service"),
      fingerprint: z.string(),
      length: z.int(),
      matches: z.enum(["proxy", "management"]).nullable(),
      issued: Issued.nullable().describe("the issued key, if it is one"),
      token: Token.nullable().describe("for a text with the form of a JSON Web Token, if the gateway accepts tokens"),
    }),
  ),
  otherAuthorization: z.boolean().describe("whether `Authorization` has another scheme"),
  elsewhere: z
    .string()
    .nullable()
    .describe("where this request has a text with the form of an issued key, if none of these places has a key"),
  service: z
    .strictObject({ key: z.string(), accepts: z.array(z.string()) })
    .nullable()
    .describe("where the service of the parameter `service` accepts a caller's key"),
});

const route = createRoute({
  method: "get",
  path: "/key-debug",
  operationId: "debugKeys",
  summary: "Find out why a key is refused",
  description: `Shows the keys that are set and the keys in this request by their fingerprints, at most ${SHOWN_LIMIT} per place. With \`service\`, keys in the places of that service's credential are shown too, and the
places are listed. A key in a path is not read: explain the request instead.`,
  ...forOperators("Management", "SERVICE_NOT_CONFIGURED"),
  request: {
    query: z.object({
      service: z.string().optional().openapi({ description: "also reads the places of this service's own credential" }),
    }),
  },
  responses: {
    200: json(
      "The keys. No part of a key is shown.",
      KeyDebug,
      {
        keys: {
          proxy: { configured: true, protected: true, fingerprint: "3f8a01c2" },
          management: { configured: true, protected: true, fingerprint: "b51d9e07" },
          issued: { configured: true, proxy: 2, management: 0 },
          tokens: { configured: false },
        },
        presented: [
          { where: "x-api-key", fingerprint: "b51d9e07", length: 48, matches: "management", issued: null, token: null },
        ],
        otherAuthorization: false,
        elsewhere: null,
        service: { key: "gemini", accepts: [...KEY_FORM_NAMES, "header x-goog-api-key"] },
      },
      NO_STORE,
    ),
  },
});

export function addKeyDebugRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { callers, planes, fingerprint, issuedKeys, clients, tokens } = parts;
  const describe = (plane: Plane) => {
    const { key } = planes[plane];
    return {
      configured: key !== undefined,
      protected: callers.isProtected(plane),
      fingerprint: key === undefined ? null : fingerprint.key(key.reveal()),
    };
  };
  routes.openapi(route, async (context) => {
    const { incoming } = context.env;
    const { bearer, header, query, otherScheme } = presentedKeysOf(incoming);
    const address = clients.addressOf(incoming);
    const asked = context.req.valid("query").service;
    if (asked !== undefined && parts.registry.find(asked) === undefined) throw parts.registry.refuseUnknown(asked);
    const places = asked === undefined ? undefined : parts.loadOf(asked).keyPlaces;
    const placed = places?.read({
      rawHeaders: incoming.rawHeaders,
      headers: incoming.headers,
      query: queryOf(incoming.url),
      path: "",
    });
    const describeKey = async (where: string, key: string) => {
      const token = tokens === undefined || !hasTokenForm(key) ? null : describeToken(await tokens.verify(key));
      return {
        where,
        fingerprint: fingerprint.key(key),
        length: key.length,
        matches: token?.state === "valid" ? ("proxy" as const) : (callers.planeOpenedBy(key) ?? null),
        issued: describeIssued(issuedKeys.find(digestOf(key)), address, incoming),
        token,
      };
    };
    const found = (where: string, keys: readonly string[]) =>
      keys.slice(0, SHOWN_LIMIT).map((key) => describeKey(where, key));
    const inForms = new Set([...bearer, ...header, ...query]);
    const onlyThere = (keys: readonly string[]) => keys.filter((key) => !inForms.has(key));
    const presented = await Promise.all([
      ...found("Authorization", bearer),
      ...found("x-api-key", header),
      ...found("api_key", query),
      ...(places?.places ?? []).flatMap((place, i) => found(place, onlyThere(placed?.[i] ?? []))),
    ]);
    const { proxy, manage } = issuedKeys.counts;
    context.header("Cache-Control", "no-store");
    return context.json(
      {
        keys: {
          proxy: describe("proxy"),
          management: describe("management"),
          issued: { configured: proxy + manage > 0, proxy, management: manage },
          tokens: { configured: tokens !== undefined },
        },
        presented,
        otherAuthorization: otherScheme,
        elsewhere: presented.some(({ issued }) => issued !== null) ? null : (findStrayKey(incoming) ?? null),
        service: asked === undefined ? null : { key: asked, accepts: [...KEY_FORM_NAMES, ...(places?.names ?? [])] },
      },
      200,
    );
  });
}

const NONE: string[] = [];

function describeToken(verdict: TokenVerdict) {
  const { state } = verdict;
  if (verdict.state !== "valid") return { state, caller: null, permissions: NONE, expiresAt: null };
  const { id, key } = verdict.key;
  return { state, caller: id, permissions: [...key.permissions], expiresAt: key.expiresAt };
}

function describeIssued(found: FoundKey | undefined, address: string, incoming: IncomingMessage) {
  if (found === undefined) return null;
  const { id, key, state } = found;
  return {
    id,
    name: key.name,
    state,
    permissions: [...key.permissions],
    allowsAddress: found.allowsAddress(address),
    allowsCertificate: decideCertificate(found, socketOf(incoming)) === undefined,
  };
}
