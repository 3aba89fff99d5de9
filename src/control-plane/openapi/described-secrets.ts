/** The secrets of a credential with several, as operators see them in every response that describes one. */
import { z } from "@hono/zod-openapi";
import { CredentialCommand } from "../credential-schema.ts";

export const DescribedSecrets = z
  .array(
    z.strictObject({
      name: z.string().describe("of `secrets` in the definition; `token` and `username` for `basic`"),
      source: z.string().describe("the variable, `file:<path>` or `command:<program>`"),
      state: z.enum(["present", "missing", "pending"]),
      fingerprint: z.string().nullable(),
      command: CredentialCommand.optional(),
    }),
  )
  .readonly()
  .describe("of a credential with several secrets")
  .openapi("DescribedSecrets");

/** Without a fingerprint: the status has none. */
export const SecretStates = z
  .array(z.strictObject({ name: z.string(), source: z.string(), state: z.enum(["present", "missing", "pending"]) }))
  .describe("of a credential with several secrets; only with the management key, if one is set")
  .openapi("SecretStates");
