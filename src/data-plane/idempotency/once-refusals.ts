/** The refusals of requests that repeat another one. */
import { GatewayError } from "../../errors.ts";

/** @param difference from the first request. */
export function mismatchError(difference: string): GatewayError {
  return new GatewayError("IDEMPOTENCY_MISMATCH", {
    message: `The Idempotency-Key was used for a request with ${difference}.`,
  });
}

/** s: most requests are shorter. */
const RETRY_RUNNING_S = 1;

/** @param reason ms until the key can be used again, where the outcome is unknown. */
export function conflictError(reason: "running" | "not kept" | number): GatewayError {
  if (reason === "running") {
    return new GatewayError("IDEMPOTENCY_CONFLICT", {
      message: "The first request with this Idempotency-Key is still running.",
      headers: ["Retry-After", String(RETRY_RUNNING_S)],
    });
  }
  if (reason === "not kept") {
    // Without a Retry-After: later the request would be executed again.
    return new GatewayError("IDEMPOTENCY_CONFLICT", {
      message:
        "The upstream has responded to the first request with this Idempotency-Key, and its response was not kept.",
      hint: "Read the result from the upstream, or send the request with a new key if it should be executed again.",
    });
  }
  const seconds = Math.max(1, Math.ceil(reason / 1_000));
  return new GatewayError("IDEMPOTENCY_CONFLICT", {
    message: `The first request with this Idempotency-Key was sent, and its outcome is unknown. The key can be used again in ${seconds} seconds.`,
    hint: "Find out from the upstream whether the request was executed before you send it again.",
    headers: ["Retry-After", String(seconds)],
  });
}
