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

/** Of every credential that is there. */
export const CredentialLife = z
  .strictObject({
    expiresAt: z.iso.datetime().nullable().describe("null if it is not known"),
    renewedBy: z.enum(["gateway", "operator"]).describe("who replaces it before that"),
    since: z.iso.datetime().describe("the first start with it"),
    lastUsedAt: z.iso.datetime().nullable().describe("null if no request has had it; after a restart to the hour"),
    scopes: z
      .strictObject({
        granted: z.array(z.string()).readonly().describe("as the upstream names them"),
        unneeded: z
          .array(z.string())
          .readonly()
          .nullable()
          .describe("scopes that no response has asked for; null before 1,000 responses and a day"),
        responses: z.int(),
        since: z.iso.datetime(),
      })
      .nullable()
      .describe("null for an upstream that does not name them"),
  })
  .openapi("CredentialLife");

/** Of a credential with a next secret. */
export const CredentialRotation = z
  .strictObject({
    stage: z
      .enum(["ready", "sharing", "promoted", "rolled-back"])
      .describe(
        "`ready`: no rotation runs; `sharing`: a share of the requests has the next secret; `promoted`: all requests have it, and the operator moves it to the source of the current one",
      ),
    share: z.number().nullable().describe("of the requests, while it runs"),
    until: z.iso.datetime().nullable().describe("the end of the sharing, while it runs"),
    requests: z.int().describe("requests with the next secret in the last rotation"),
    reason: z.string().nullable().describe("why it was rolled back"),
  })
  .openapi("CredentialRotation");

/** Of a credential whose access tokens the gateway obtains. */
export const CredentialToken = z
  .strictObject({
    state: z
      .enum(["none", "ready", "failing"])
      .describe(
        "`none`: no request has needed one yet; `failing`: the last fetch failed; an earlier token may still be used",
      ),
    expiresAt: z.iso.datetime().nullable().describe("null without a token, and if its end is not known"),
    scope: z.string().nullable().describe("as the token endpoint granted it"),
    renewedAt: z.iso.datetime().nullable().describe("the last fetch that gave a token"),
    failure: z
      .string()
      .nullable()
      .describe("what the token endpoint did instead, such as `responded with 400 (invalid_client)`"),
  })
  .openapi("CredentialToken");

const pooledMembers = {
  source: z.string().describe("the variables, files or programs of its secrets"),
  state: z
    .enum(["ready", "resting", "unavailable", "missing", "twin"])
    .describe(
      "`resting`: the upstream refused it with 401; `unavailable`: its program or token endpoint fails; `twin`: an earlier one has the same secret",
    ),
  restsUntil: z.iso.datetime().nullable(),
  refusals: z.int().describe("responses with 401"),
  token: CredentialToken.optional(),
};

/** Of a pool: each of its credentials, in the order of the list. */
export const PooledCredentials = z.array(z.strictObject(pooledMembers).openapi("PooledCredential")).readonly();

/** What an explanation shows of a pool. */
export const ExplainedPool = z.strictObject({
  chosen: z
    .int()
    .nullable()
    .describe("the index of the credential that would be used; null if none may send the request in time"),
  reason: z.string(),
  of: z
    .array(
      z.strictObject({
        ...pooledMembers,
        left: z.number().nullable().describe("requests that it may still send now; null if that is not known"),
      }),
    )
    .readonly(),
});
