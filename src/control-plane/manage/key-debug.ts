/**
 * `/manage/key-debug`: why a key is not taken. Which keys there are, which this request presented, and what those open.
 * Invariant: never a part of a key; a fingerprint can be compared, and not turned back.
 */
import type { Hono } from "hono";
import type { Plane } from "../../callers/callers.ts";
import { presentedKeysOf } from "../../callers/presented-keys.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

/** Of each place: more would be a way to try many keys with one request. */
const SHOWN_LIMIT = 3;

export function addKeyDebugRoute(routes: Hono<CallerEnv>, parts: ControlPlaneParts): void {
  const { callers, planes, fingerprint } = parts;
  const describe = (plane: Plane) => {
    const { key } = planes[plane];
    return {
      configured: key !== undefined,
      protected: callers.isProtected(plane),
      fingerprint: key === undefined ? null : fingerprint.key(key.reveal()),
    };
  };
  routes.get("/key-debug", (context) => {
    const { bearer, header, query, otherScheme } = presentedKeysOf(context.env.incoming);
    const found = (where: string, keys: readonly string[]) =>
      keys.slice(0, SHOWN_LIMIT).map((key) => ({
        where,
        fingerprint: fingerprint.key(key),
        length: key.length,
        matches: callers.planeOpenedBy(key) ?? null,
      }));
    context.header("Cache-Control", "no-store");
    return context.json({
      keys: { proxy: describe("proxy"), management: describe("management") },
      presented: [...found("Authorization", bearer), ...found("x-api-key", header), ...found("api_key", query)],
      otherAuthorization: otherScheme,
    });
  });
}
