/** `POST` and `DELETE /manage/services/{key}/credential/rotate`: the credential of one service changes to its next secret. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { describeRotation } from "../../config/rotation-state.ts";
import { GatewayError } from "../../errors.ts";
import { CredentialRotation } from "../credential-schema.ts";
import { BODY_CODES, forOperators, json, KEY_IN_PATH, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";
import { readJson } from "./read-json.ts";

const LEAST_SHARE = 0.001;
/** A week. */
const MOST_SECONDS = 604_800;
const SHARE = `a number from ${LEAST_SHARE} to 1`;
const SECONDS = `an integer from 1 to ${MOST_SECONDS}`;

const Order = z.strictObject({
  share: z.number(SHARE).min(LEAST_SHARE, SHARE).max(1, SHARE).default(0.1),
  seconds: z.int(SECONDS).min(1, SECONDS).max(MOST_SECONDS, SECONDS).default(60),
});

const Begun = z
  .strictObject({
    rotation: CredentialRotation,
    probe: z
      .enum(["accepted", "unknown"])
      .describe("the upstream's response to a GET of `baseUrl` with the next secret; `unknown` unless it was 2xx"),
  })
  .openapi("BegunRotation");

const rotateRoute = createRoute({
  method: "post",
  path: "/services/{key}/credential/rotate",
  operationId: "rotateCredential",
  summary: "Change a service to its next secret",
  description:
    "Probes the next secret, uses it for a share of the requests, and after `seconds` for all of them. If the upstream refuses it and not the current one, the current one stays in use.",
  parameters: [KEY_IN_PATH],
  ...forOperators(
    "Services",
    ...BODY_CODES,
    "SERVICE_NOT_CONFIGURED",
    "CREDENTIAL_ROTATION_CONFLICT",
    "NEXT_CREDENTIAL_REFUSED",
  ),
  request: {
    body: {
      required: false,
      content: {
        "application/json": {
          schema: {
            type: "object",
            additionalProperties: false,
            properties: {
              share: { type: "number", minimum: LEAST_SHARE, maximum: 1, default: 0.1 },
              seconds: { type: "integer", minimum: 1, maximum: MOST_SECONDS, default: 60 },
            },
          },
          example: { share: 0.1, seconds: 60 },
        },
      },
    },
  },
  responses: {
    202: json(
      "The next secret is used for a share of the requests.",
      Begun,
      {
        rotation: {
          stage: "sharing",
          share: 0.1,
          until: "2026-11-30T00:21:00.000Z",
          requests: 0,
          reason: null,
        },
        probe: "accepted",
      },
      NO_STORE,
    ),
  },
});

const cancelRoute = createRoute({
  method: "delete",
  path: "/services/{key}/credential/rotate",
  operationId: "cancelCredentialRotation",
  summary: "Return a service to its current secret",
  description: "Ends a rotation that runs, or takes a promotion back.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "CREDENTIAL_ROTATION_CONFLICT", "STORE_UNAVAILABLE"),
  responses: { 204: { description: "All requests have the current secret." } },
});

export function addRotationRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, audit } = parts;
  routes.openapi(rotateRoute, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    const { headers } = context.env.incoming;
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    const { share, seconds } = readOrder(hasBody ? await readJson(context) : {});
    // The service may have been removed while the client sent the body.
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    const author = authorOf(context, parts);
    const begun = await parts.rotateCredential(key, { share, seconds, requestId: author.requestId });
    await audit.record(author, {
      action: "credential.rotate",
      subject: key,
      after: { share, seconds, probe: begun.probe },
    });
    context.header("Cache-Control", "no-store");
    return context.json({ rotation: describeRotation(begun.rotation), probe: begun.probe }, 202);
  });
  routes.openapi(cancelRoute, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    await parts.cancelRotation(key).catch((error: unknown) => {
      if (error instanceof GatewayError) throw error;
      throw new GatewayError("STORE_UNAVAILABLE", {
        message: "The change could not be stored, so the next secret stays in use.",
        cause: error,
      });
    });
    await audit.record(authorOf(context, parts), { action: "credential.cancel", subject: key });
    return context.body(null, 204);
  });
}

/** @throws GatewayError VALIDATION_ERROR */
function readOrder(body: unknown): z.output<typeof Order> {
  const read = Order.safeParse(body);
  if (read.success) return read.data;
  const details: Record<string, string[]> = {};
  for (const { path, code } of read.error.issues) {
    const name = String(path[0] ?? "body");
    const allowed = { share: SHARE, seconds: SECONDS }[name] ?? "an object with share and seconds";
    details[name] = [
      code === "unrecognized_keys" ? "found unknown keys, allowed: share and seconds" : `allowed: ${allowed}`,
    ];
  }
  throw new GatewayError("VALIDATION_ERROR", {
    message: "The rotation cannot be started in this way.",
    extra: { details },
  });
}
