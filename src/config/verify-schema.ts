/**
 * The `verify` member of a service: how the signatures of its callers are checked.
 * Invariant: it is there exactly for the services with `access: signature`, and its secret has exactly one source.
 */
import { z } from "zod";
import { headerName } from "./configured-headers.ts";
import { filePath, variableName } from "./source-names.ts";
import type { WsDefinition } from "./ws-schema.ts";

const MEBIBYTE = 1_048_576;

export const SIGNATURE_SCHEMES = ["github", "stripe", "slack", "standard-webhooks", "hmac"] as const;

/** Members that describe a signature for which there is no scheme. */
const OF_HMAC = ["header", "algorithm", "encoding", "prefix"] as const;

/** Headers that the gateway removes or replaces, so that an upstream could not check the signature again. */
const NOT_FORWARDED = /^(?:x-api-key|cookie|origin|referer|forwarded|x-forwarded-.*|x-real-ip|proxy-.*)$/i;

export const verifySchema = z
  .strictObject({
    scheme: z
      .enum(SIGNATURE_SCHEMES)
      .describe(
        "who signs, and how: `github`, `stripe`, `slack`, `standard-webhooks` (also the `svix-…` headers), or `hmac` for any other header with an HMAC of the body",
      ),
    secretEnvVar: variableName.optional().describe("environment variable that holds the signing secret"),
    secretFile: filePath.optional().describe("file that holds the signing secret; line breaks at its end are removed"),
    header: headerName.optional().describe("`hmac`: the header that carries the signature"),
    algorithm: z
      .enum(["sha1", "sha256", "sha384", "sha512"])
      .optional()
      .describe("`hmac`: the hash; default: `sha256`"),
    encoding: z
      .enum(["hex", "base64", "base64url"])
      .optional()
      .describe("`hmac`: how the signature is written; default: `hex`"),
    prefix: z
      .string()
      .max(64)
      .regex(/^[\x20-\x7e]*$/, "printable ASCII characters")
      .optional()
      .describe("`hmac`: text before the signature in the header, such as `sha256=`; default: none"),
    toleranceSeconds: z
      .int()
      .min(1)
      .max(86_400)
      .default(300)
      .describe("how far a signed time may be from the gateway's clock, before and after it, in seconds"),
    maxBodyBytes: z
      .int()
      .min(1)
      .max(16 * MEBIBYTE)
      .default(MEBIBYTE)
      .describe("largest body in bytes: it is held in memory until its signature is checked"),
  })
  .superRefine((verify, refinement) => {
    const problem = (message: string, ...path: string[]) => refinement.addIssue({ code: "custom", path, message });
    if ((verify.secretEnvVar === undefined) === (verify.secretFile === undefined)) {
      problem("exactly one of secretEnvVar and secretFile");
    }
    if (verify.scheme !== "hmac") {
      for (const name of OF_HMAC) if (verify[name] !== undefined) problem(`${name} only for scheme hmac`);
    } else if (verify.header === undefined) problem("header for scheme hmac");
    else if (NOT_FORWARDED.test(verify.header)) problem("a header that the gateway forwards", "header");
  });

export type VerifyDefinition = z.output<typeof verifySchema>;

interface Verified {
  readonly access: "key" | "public" | "signature";
  readonly verify?: VerifyDefinition | undefined;
  readonly ws: WsDefinition;
}

/** What must fit together in a service. */
export function checkAccess({ access, verify, ws }: Verified, refinement: z.RefinementCtx): void {
  const problem = (path: string, message: string) => refinement.addIssue({ code: "custom", path: [path], message });
  if (access === "signature" && verify === undefined) problem("access", "signature only with verify");
  if (access !== "signature" && verify !== undefined) problem("verify", "verify only with access signature");
  if (access === "signature" && ws !== false)
    problem("ws", "false with access signature: a WebSocket has no body to sign");
}
