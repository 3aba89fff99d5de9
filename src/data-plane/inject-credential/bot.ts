/** `Authorization: Bot <token>`, Discord's form for bots. */
import type { Credential } from "./inject-credential.ts";

export function bot(secret: string): Credential {
  return { place: "header", name: "Authorization", value: `Bot ${secret}` };
}
