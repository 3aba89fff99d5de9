/**
 * The members of `auth` for type `aws-sigv4` (AWS Signature Version 4): whose signature, for which service, and how bodies are signed.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { z } from "zod";
import { filePath, variableName } from "./source-names.ts";

/** A part of the credential scope, in which `/` separates the parts. */
const scopePart = z
  .string()
  .max(64)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, `-`, `.` and `_`");

export const DEFAULT_SIGNED_BODY_BYTES = 1_048_576;

/** A signed body is held in memory. */
const SIGNED_BODY_BYTES_LIMIT = 67_108_864;

export const awsMembers = {
  region: scopePart.optional().describe("`aws-sigv4`: the region of the signature, such as `eu-central-1`"),
  service: scopePart
    .optional()
    .describe("`aws-sigv4`: the service's name in signatures: `s3`, `bedrock`, `dynamodb`, `execute-api` …"),
  accessKeyIdEnvVar: variableName.optional().describe("`aws-sigv4`: environment variable that holds the access key id"),
  accessKeyIdFile: filePath.optional().describe("`aws-sigv4`: file that holds the access key id"),
  secretAccessKeyEnvVar: variableName
    .optional()
    .describe("`aws-sigv4`: environment variable that holds the secret access key"),
  secretAccessKeyFile: filePath.optional().describe("`aws-sigv4`: file that holds the secret access key"),
  sessionTokenEnvVar: variableName
    .optional()
    .describe("`aws-sigv4`: environment variable that holds the session token of temporary credentials"),
  sessionTokenFile: filePath
    .optional()
    .describe("`aws-sigv4`: file that holds the session token of temporary credentials"),
  payload: z
    .enum(["signed", "unsigned"])
    .optional()
    .describe(
      "`aws-sigv4`: `signed` (default) reads a body before it is sent and signs its hash; `unsigned` streams every body and signs `UNSIGNED-PAYLOAD`",
    ),
  maxSignedBodyBytes: z
    .int()
    .min(1)
    .max(SIGNED_BODY_BYTES_LIMIT)
    .optional()
    .describe(
      `\`aws-sigv4\`, and \`custom\` with \`sign\`: the largest body that is signed, default: ${DEFAULT_SIGNED_BODY_BYTES}; a larger one is unsigned for S3 over https, else 413`,
    ),
} as const;

export const AWS_MEMBERS = Object.keys(awsMembers) as (keyof typeof awsMembers)[];

type AwsAuth = z.output<z.ZodObject<typeof awsMembers>>;

export function checkAws(auth: AwsAuth, refinement: z.RefinementCtx): void {
  const problem = (message: string) => refinement.addIssue({ code: "custom", message });
  if (auth.region === undefined) problem("region for type aws-sigv4");
  if (auth.service === undefined) problem("service for type aws-sigv4");
  for (const name of ["accessKeyId", "secretAccessKey"] as const) {
    const [inVariable, inFile] = [auth[`${name}EnvVar`], auth[`${name}File`]];
    if ((inVariable === undefined) === (inFile === undefined)) problem(`exactly one of ${name}EnvVar and ${name}File`);
  }
  if (auth.sessionTokenEnvVar !== undefined && auth.sessionTokenFile !== undefined) {
    problem("at most one of sessionTokenEnvVar and sessionTokenFile");
  }
  if (auth.payload === "unsigned" && auth.maxSignedBodyBytes !== undefined) {
    problem("maxSignedBodyBytes only with payload signed");
  }
}

interface WithSignature {
  readonly auth?: { readonly type: string; readonly sign?: unknown } | undefined;
  readonly ws: unknown;
}

/** @param refinement of the service. */
export function checkSignedService({ auth, ws }: WithSignature, refinement: z.RefinementCtx): void {
  const isSigned = auth?.type === "aws-sigv4" || auth?.sign !== undefined;
  if (!isSigned || ws === false) return;
  const message = "false with a signature of each request: a handshake of a WebSocket is not signed";
  refinement.addIssue({ code: "custom", path: ["ws"], message });
}
