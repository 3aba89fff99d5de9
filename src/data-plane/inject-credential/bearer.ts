/** `Authorization: Bearer <token>` (RFC 6750 section 2.1). */
import type { Credential } from "./inject-credential.ts";

export function bearer(secret: string): Credential {
  return { place: "header", name: "Authorization", value: `Bearer ${secret}` };
}
