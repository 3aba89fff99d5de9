/** `Authorization: Basic <base64 of user:password>` (RFC 7617 section 2). */
import type { Credential } from "./inject-credential.ts";

export function basic(secret: string): Credential {
  return { place: "header", name: "Authorization", value: `Basic ${Buffer.from(secret, "utf8").toString("base64")}` };
}
