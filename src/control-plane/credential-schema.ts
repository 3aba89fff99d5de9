/** How responses describe a credential. */
import { z } from "@hono/zod-openapi";

export const CredentialState = z
  .enum(["none", "present", "missing", "pending"])
  .describe("`pending`: a command prints the secret, and has not run yet");

/** Of a secret that a command prints. */
export const CredentialCommand = z
  .strictObject({
    state: z
      .enum(["not-run", "running", "ready", "failing"])
      .describe("`failing`: the last run failed; an earlier secret may still be used"),
    lastRunAt: z.iso.datetime().nullable(),
    failure: z.string().nullable().describe("what the last run did instead, such as `exited with code 1`"),
    ttlSeconds: z.int(),
  })
  .openapi("CredentialCommand");
