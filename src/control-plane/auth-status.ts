/** What is protected, and in which places this request carried a key: for the moment before anything else is understood. */

import { presentedKeysOf } from "../callers/presented-keys.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

export function addAuthStatusRoute(app: ControlPlane, { callers }: ControlPlaneParts): void {
  app.get("/auth-status", (context) => {
    const presented = presentedKeysOf(context.env.incoming);
    return context.json({
      proxy: { protected: callers.isProtected("proxy") },
      management: { protected: callers.isProtected("management") },
      presented: {
        bearer: presented.bearer.length > 0,
        "x-api-key": presented.header.length > 0,
        api_key: presented.query.length > 0,
        otherScheme: presented.otherScheme,
      },
      accepted: ["Authorization: Bearer <key>", "x-api-key: <key>", "?api_key=<key>"],
    });
  });
}
