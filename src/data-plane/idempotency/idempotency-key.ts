/**
 * The key that a client sends to have a request executed once (draft-ietf-httpapi-idempotency-key-header).
 * Invariant: one key or a refusal: a key that two readers could read differently is none.
 */
import { isSharedIdentity } from "../../callers/shared-identity.ts";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";

const NAME = "idempotency-key";

/** Longer keys are no random identifiers, and Stripe refuses them too. */
const LONGEST_KEY = 255;

/** RFC 8941 section 3.3.3, without parameters. */
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/;

/** As most APIs document it. A comma joins the values of several headers (RFC 9110 section 5.3). */
const BARE = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/** gRPC has no such header: its calls may be streams of messages, whose bodies must not wait. */
const GRPC = /^application\/grpc/i;

type Keyed = Pick<Exchange, "method" | "callerId" | "req">;

/** Whether a service with idempotency executes the request once. */
export function asksForIdempotency({ method, callerId, req }: Keyed): boolean {
  if (method !== "POST" && method !== "PATCH") return false;
  const { headers } = req;
  return headers[NAME] !== undefined && !isSharedIdentity(callerId) && !GRPC.test(headers["content-type"] ?? "");
}

/** @param rawHeaders names and values in turn. */
export function readIdempotencyKey(rawHeaders: readonly string[]): string | GatewayError {
  let value: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() !== NAME) continue;
    if (value !== undefined) return invalid("The request has several Idempotency-Key headers.");
    value = (rawHeaders[i + 1] as string).trim();
  }
  if (value === undefined || value === "") return invalid("The Idempotency-Key is empty.");
  const quoted = QUOTED.exec(value)?.[1]?.replace(/\\(["\\])/g, "$1");
  const key = quoted ?? (BARE.test(value) ? value : undefined);
  if (key === undefined) {
    return invalid("The Idempotency-Key is neither a quoted string nor one text of visible ASCII without a comma.");
  }
  if (key.length === 0) return invalid("The Idempotency-Key is empty.");
  if (key.length > LONGEST_KEY) return invalid(`The Idempotency-Key has more than ${LONGEST_KEY} characters.`);
  return key;
}

function invalid(message: string): GatewayError {
  return new GatewayError("INVALID_REQUEST", {
    message,
    hint: `Send one Idempotency-Key of 1 to ${LONGEST_KEY} characters, such as a UUID.`,
  });
}
