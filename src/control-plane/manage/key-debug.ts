/**
 * `/manage/key-debug`: why a key is refused. It shows which keys are set, which keys this request has, and what they permit.
 * Invariant: the response contains no part of a key. A fingerprint can be compared, but not reversed.
 */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { FoundKey } from "../../callers/key-index.ts";
import { digestOf, presentedKeysOf } from "../../callers/presented-keys.ts";
import type { Plane } from "../../callers/unauthenticated.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

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
});

const KeyDebug = z.strictObject({
  keys: z.strictObject({
    proxy: Key,
    management: Key,
    issued: z
      .strictObject({ configured: z.boolean(), proxy: z.int(), management: z.int() })
      .describe("the number of issued keys in any state, by plane"),
  }),
  presented: z.array(
    z.strictObject({
      where: z.enum(["Authorization", "x-api-key", "api_key"]),
      fingerprint: z.string(),
      length: z.int(),
      matches: z.enum(["proxy", "management"]).nullable(),
      issued: Issued.nullable().describe("the issued key, if it is one"),
    }),
  ),
  otherAuthorization: z.boolean().describe("whether `Authorization` has another scheme"),
});

const route = createRoute({
  method: "get",
  path: "/key-debug",
  operationId: "debugKeys",
  summary: "Find out why a key is refused",
  description: `Shows the keys that are set and the keys in this request by their fingerprints, at most ${SHOWN_LIMIT} per place.`,
  ...forOperators("Management"),
  responses: {
    200: json(
      "The keys. No part of a key is shown.",
      KeyDebug,
      {
        keys: {
          proxy: { configured: true, protected: true, fingerprint: "3f8a01c2" },
          management: { configured: true, protected: true, fingerprint: "b51d9e07" },
          issued: { configured: true, proxy: 2, management: 0 },
        },
        presented: [{ where: "x-api-key", fingerprint: "b51d9e07", length: 48, matches: "management", issued: null }],
        otherAuthorization: false,
      },
      NO_STORE,
    ),
  },
});

export function addKeyDebugRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { callers, planes, fingerprint, issuedKeys, clients } = parts;
  const describe = (plane: Plane) => {
    const { key } = planes[plane];
    return {
      configured: key !== undefined,
      protected: callers.isProtected(plane),
      fingerprint: key === undefined ? null : fingerprint.key(key.reveal()),
    };
  };
  routes.openapi(route, (context) => {
    const { bearer, header, query, otherScheme } = presentedKeysOf(context.env.incoming);
    const address = clients.addressOf(context.env.incoming);
    const found = <W extends string>(where: W, keys: readonly string[]) =>
      keys.slice(0, SHOWN_LIMIT).map((key) => ({
        where,
        fingerprint: fingerprint.key(key),
        length: key.length,
        matches: callers.planeOpenedBy(key) ?? null,
        issued: describeIssued(issuedKeys.find(digestOf(key)), address),
      }));
    const { proxy, manage } = issuedKeys.counts;
    context.header("Cache-Control", "no-store");
    return context.json(
      {
        keys: {
          proxy: describe("proxy"),
          management: describe("management"),
          issued: { configured: proxy + manage > 0, proxy, management: manage },
        },
        presented: [...found("Authorization", bearer), ...found("x-api-key", header), ...found("api_key", query)],
        otherAuthorization: otherScheme,
      },
      200,
    );
  });
}

function describeIssued(found: FoundKey | undefined, address: string) {
  if (found === undefined) return null;
  const { id, key, state } = found;
  return { id, name: key.name, state, permissions: [...key.permissions], allowsAddress: found.allowsAddress(address) };
}
