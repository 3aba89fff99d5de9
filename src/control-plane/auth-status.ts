/** Which planes require a key, and where this request has one. It helps a caller that cannot authenticate yet. */
import { createRoute, z } from "@hono/zod-openapi";
import { KEY_FORM_NAMES, presentedKeysOf } from "../callers/presented-keys.ts";
import { forEveryone, json } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

/** No service is named here: which services there are, and where they accept a key, is for operators. */
const FORMS = [
  ...KEY_FORM_NAMES,
  "under /proxy also where the service's own API has its credential: a header, a parameter, the password of Basic",
];

const TOKEN_FORM = "under /proxy a JSON Web Token in place of a key, in the same forms";

const Plane = z.strictObject({ protected: z.boolean() });

const AuthStatus = z.strictObject({
  proxy: Plane,
  management: Plane,
  presented: z
    .strictObject({
      bearer: z.boolean(),
      "x-api-key": z.boolean(),
      api_key: z.boolean(),
      otherScheme: z
        .boolean()
        .describe("whether `Authorization` has a scheme that only services with a credential in that form accept"),
    })
    .describe("where this request has a text that may be a key"),
  accepted: z.array(z.string()),
});

const route = createRoute({
  method: "get",
  path: "/auth-status",
  operationId: "getAuthStatus",
  summary: "Which planes require a key",
  description: "Also shows where this request has a key, but never whether that key is valid.",
  ...forEveryone("Health"),
  responses: {
    200: json("The planes that require a key.", AuthStatus, {
      proxy: { protected: true },
      management: { protected: true },
      presented: { bearer: true, "x-api-key": false, api_key: false, otherScheme: false },
      accepted: FORMS,
    }),
  },
});

export function addAuthStatusRoute(app: ControlPlane, { callers }: ControlPlaneParts): void {
  app.openapi(route, (context) => {
    const presented = presentedKeysOf(context.env.incoming);
    return context.json(
      {
        proxy: { protected: callers.isProtected("proxy") },
        management: { protected: callers.isProtected("management") },
        presented: {
          bearer: presented.bearer.length > 0,
          "x-api-key": presented.header.length > 0,
          api_key: presented.query.length > 0,
          otherScheme: presented.otherScheme,
        },
        accepted: callers.acceptsTokens ? [...FORMS, TOKEN_FORM] : FORMS,
      },
      200,
    );
  });
}
