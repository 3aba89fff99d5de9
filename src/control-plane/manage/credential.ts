/** `POST /manage/services/{key}/credential/refresh`: the credential of one service is obtained again. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { GatewayError } from "../../errors.ts";
import { forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";

const route = createRoute({
  method: "post",
  path: "/services/{key}/credential/refresh",
  operationId: "refreshCredential",
  summary: "Obtain the credential of a service again",
  description:
    "Fetches an access token from the token endpoint, or runs the commands that print the secrets. If that fails, the credential from before stays in use as long as it lasts.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "VALIDATION_ERROR", "UPSTREAM_CREDENTIAL_UNAVAILABLE"),
  responses: { 204: { description: "Later requests are sent with the new credential." } },
});

export function addCredentialRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.openapi(route, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    const { credential } = loadOf(key);
    if (credential.refresh === undefined) {
      throw new GatewayError("VALIDATION_ERROR", {
        message: `The gateway does not obtain the credential of ${key} itself, or lacks a secret for that.`,
        hint: "Only a credential of type oauth2 or github-app, or one that a command prints, can be obtained again. Change any other one in its variable and reload, or in its file.",
      });
    }
    const failure = await credential.refresh();
    await audit.record(authorOf(context, parts), { action: "credential.refresh", subject: key });
    if (failure !== undefined) {
      throw new GatewayError("UPSTREAM_CREDENTIAL_UNAVAILABLE", {
        message: `The credential of ${key} was not renewed: ${failure}.`,
      });
    }
    return context.body(null, 204);
  });
}
