/** What a route's schema says against a request, in the one form of every VALIDATION_ERROR. */
import type { Hook } from "@hono/zod-openapi";
import { GatewayError } from "../errors.ts";
import type { ControlEnv } from "./parts.ts";

/** The messages of these schemas say what is allowed. @throws GatewayError VALIDATION_ERROR */
export const refuseInvalid: Hook<unknown, ControlEnv, string, undefined> = (result) => {
  if (result.success) return undefined;
  const details: Record<string, string[]> = {};
  for (const { path, message } of result.error.issues) {
    const field = path.join(".");
    details[field] = [...(details[field] ?? []), `allowed: ${message}`];
  }
  const words = Object.entries(details).map(([field, texts]) => `${field} is not valid, ${texts.join(", ")}.`);
  throw new GatewayError("VALIDATION_ERROR", { message: words.join(" "), extra: { details } });
};
