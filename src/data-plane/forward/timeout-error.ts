/** The error of an exchange whose deadline has passed. */
import { GatewayError } from "../../errors.ts";
import type { Route } from "../identify.ts";
import type { Expiry } from "./deadline.ts";
import { responseTimeout } from "./failures.ts";
import { isIdempotent } from "./retry.ts";

export function timeoutError(expiry: Expiry, { prepared: { service } }: Route, method: string): GatewayError {
  if (expiry === "client-idle") {
    return new GatewayError("REQUEST_TIMEOUT", { message: "The request body stopped arriving." });
  }
  if (expiry === "body-idle") return new GatewayError("UPSTREAM_TIMEOUT");
  return responseTimeout(service, isIdempotent(method));
}
