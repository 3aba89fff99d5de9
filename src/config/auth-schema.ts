/**
 * The `auth` member of a service: its members and descriptions, and what must fit together.
 * Invariant: each secret has exactly one source, and at least one place.
 */
import { z } from "zod";
import { AWS_MEMBERS, awsMembers, checkAws } from "./aws-schema.ts";
import { checkCustomAuth } from "./check-custom-auth.ts";
import { headerName } from "./configured-headers.ts";
import { checkGithubApp, GITHUB_APP_MEMBERS, githubAppMembers } from "./github-app-schema.ts";
import { checkOauth2, OAUTH2_MEMBERS, oauth2Members } from "./oauth2-schema.ts";
import { signSchema } from "./sign-schema.ts";
import { filePath, variableName } from "./source-names.ts";

const parameterName = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9_.~-]+$/, "a parameter name of letters, digits, `_`, `.`, `~` and `-`");

/** Others have several spellings in a body, and a client's own field must be found in each. */
const fieldName = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[\x20-\x7e]+$/, "a field name of printable ASCII characters");

/** Of a program and its arguments. */
const command = z
  .array(
    z
      .string()
      .max(4_096)
      .regex(/^[^\0]*$/, "a text without NUL"),
  )
  .min(1)
  .max(64)
  .refine(([program]) => program !== "", "a list that begins with the name of a program");

/** At most a week: a command that nothing repeats is no source of a secret that expires. */
const ttlSeconds = z.int().min(1).max(604_800);

export const DEFAULT_TTL_SECONDS = 300;

export const DEFAULT_REST_SECONDS = 300;

/** Credentials of a pool. Each attempt compares all of them. */
const POOL_LIMIT = 32;

/** The text around secrets. Longer ones are no credentials. */
const template = z
  .string()
  .min(1)
  .max(1_024)
  .regex(/^[\x20-\x7e]+$/, "printable ASCII characters")
  .meta({ allowed: "a text with {name} or {name|base64}" });

const templates = (names: z.ZodType<string, string>) => z.record(names, template);

const secretSource = z
  .strictObject({
    envVar: variableName.optional().describe("environment variable that holds the secret"),
    file: filePath.optional().describe("file that holds the secret"),
    command: command.optional().describe("program and arguments that print the secret"),
    ttlSeconds: ttlSeconds.optional().describe("`command`: seconds until it runs again"),
  })
  .superRefine(({ envVar, file, command: run, ttlSeconds: ttl }, refinement) => {
    const problem = (message: string) => refinement.addIssue({ code: "custom", message });
    if ([envVar, file, run].filter((each) => each !== undefined).length !== 1) {
      problem("exactly one of envVar, file and command");
    }
    if (ttl !== undefined && run === undefined) problem("ttlSeconds only with command");
  });

const secretName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, "a name of letters, digits, `_` and `-`, beginning with a letter");

/** A user name cannot contain a colon, which ends it (RFC 7617 section 2). */
const userName = z
  .string()
  .max(256)
  .regex(/^[^:\x00-\x1f\x7f]*$/, "a user name without colons and control characters (RFC 7617 section 2)");

/** Of the credentials that a pool may have. */
const POOLED_TYPES = ["bearer", "bot", "basic", "api-key", "custom", "oauth2", "github-app"] as const;

/** Of every credential; a pool is a list of them. */
const members = {
  tokenEnvVar: variableName.optional().describe("environment variable that holds the secret"),
  tokenFile: filePath.optional().describe("file that holds the secret; line breaks at its end are removed"),
  tokenCommand: command
    .optional()
    .describe("program and arguments that print the secret, run without a shell; only in the services file"),
  tokenCommandTtlSeconds: ttlSeconds
    .optional()
    .describe(`seconds until \`tokenCommand\` runs again; default: ${DEFAULT_TTL_SECONDS}`),
  nextTokenEnvVar: variableName
    .optional()
    .describe("environment variable that holds the secret that a [rotation](rotation.md) changes to"),
  nextTokenFile: filePath.optional().describe("file that holds the secret that a rotation changes to"),
  username: userName.optional().describe("`basic`: the user name; the secret is then the password"),
  usernameEnvVar: variableName
    .optional()
    .describe("`basic`: environment variable that holds the user name; the secret is then the password"),
  headerName: headerName.optional().describe("`api-key`: the header that carries the secret"),
  scheme: z
    .string()
    .min(1)
    .max(64)
    .regex(/^[\x21-\x7e][\x20-\x7e]*$/, "a prefix such as `Token `, of printable ASCII characters")
    .optional()
    .describe("`api-key`: text before the secret in the header; after a letter or digit a space is added"),
  queryParam: parameterName.optional().describe("`api-key`: the query parameter that carries the secret"),
  secrets: z
    .record(secretName, secretSource)
    .optional()
    .describe(
      '`custom`: sources by name: `{ "envVar": … }`, `{ "file": … }` or `{ "command": […], "ttlSeconds": 300 }` (a command only in the services file)',
    ),
  headers: templates(headerName)
    .optional()
    .describe("`custom`: headers by name, with placeholders `{name}` and `{name|base64}`"),
  query: templates(parameterName).optional().describe("`custom`: query parameters by name"),
  path: z
    .union([template, z.array(template).min(1).max(16)])
    .optional()
    .describe("`custom`: a path that is inserted after the base URL, such as `/bot{token}`, or a list of them"),
  form: templates(fieldName)
    .optional()
    .describe("`custom`: fields of an `application/x-www-form-urlencoded` body by name"),
  subprotocol: template.optional().describe("`custom`: a WebSocket subprotocol"),
  sign: signSchema
    .optional()
    .describe(
      "`custom`: [an HMAC of each request](hmac.md), for the placeholders `{signature}` and `{timestamp}` in `headers` and `query`",
    ),
  ...oauth2Members,
  ...githubAppMembers,
  ...awsMembers,
};

/** One credential of a pool. */
const pooledSchema = z
  .strictObject({ type: z.enum(POOLED_TYPES), ...members })
  .superRefine(checkAuth)
  .superRefine(({ nextTokenEnvVar, nextTokenFile, refreshToken, sign }, refinement) => {
    const problem = (message: string) => refinement.addIssue({ code: "custom", message });
    // Both are named by the service alone.
    if ((nextTokenEnvVar ?? nextTokenFile) !== undefined)
      problem("nextTokenEnvVar and nextTokenFile not within a pool");
    if (refreshToken !== undefined) problem("refreshToken not within a pool");
    if (sign !== undefined) problem("sign not within a pool");
  });

export type PooledDefinition = z.output<typeof pooledSchema>;

export const authSchema = z
  .strictObject({
    type: z
      .enum([...POOLED_TYPES, "aws-sigv4", "pool"])
      .describe(
        "`bearer`, `bot` (`Authorization: Bot …`), `basic` (the secret is `user:password`, or the password), `api-key`, `custom` (several secrets, in any place), `oauth2` (access tokens that the gateway obtains and renews), `github-app` (tokens of an installation of a GitHub App), `aws-sigv4` ([a signature of each request](aws.md)) or `pool` ([several credentials](credential-pools.md))",
      ),
    ...members,
    of: z
      .array(pooledSchema)
      .min(2)
      .max(POOL_LIMIT)
      .optional()
      .describe(
        "`pool`: the credentials, each as `auth` without `required`, all of one type and with the same places; each attempt uses the one with the most quota left",
      ),
    restSeconds: z
      .int()
      .min(1)
      .max(86_400)
      .optional()
      .describe(
        `\`pool\`: seconds in which a credential is not used after the upstream refused it with 401; default: ${DEFAULT_REST_SECONDS}`,
      ),
    required: z
      .boolean()
      .default(true)
      .describe(
        "if the secret is missing: `true` refuses requests with 401 `UPSTREAM_CREDENTIAL_MISSING`, `false` sends them without it",
      ),
  })
  .superRefine(checkAuth);

type CheckedAuth = z.output<z.ZodObject<typeof members>> & {
  readonly type: (typeof POOLED_TYPES)[number] | "aws-sigv4" | "pool";
  readonly of?: unknown;
  readonly restSeconds?: unknown;
};

function checkAuth(value: CheckedAuth, refinement: z.RefinementCtx): void {
  const problem = (message: string) => refinement.addIssue({ code: "custom", message });
  for (const [names, types] of BELONGS) {
    const found = names.filter((name) => value[name] !== undefined);
    if (found.length === 0 || types.some((type) => type === value.type)) continue;
    // A long group is shown by its members that are there.
    problem(`${listed(names.length > 6 ? found : names)} only for type ${types.join(", ")}`);
  }
  if (value.type === "pool") {
    if (value.of === undefined) problem("of for type pool");
    return;
  }
  if (value.type === "custom") return checkCustomAuth(value, refinement);
  if (value.type === "oauth2") return checkOauth2(value, refinement);
  if (value.type === "github-app") return checkGithubApp(value, refinement);
  if (value.type === "aws-sigv4") return checkAws(value, refinement);
  const sources = [value.tokenEnvVar, value.tokenFile, value.tokenCommand];
  if (sources.filter((source) => source !== undefined).length !== 1) {
    problem("exactly one of tokenEnvVar, tokenFile and tokenCommand");
  }
  if (value.tokenCommandTtlSeconds !== undefined && value.tokenCommand === undefined) {
    problem("tokenCommandTtlSeconds only with tokenCommand");
  }
  checkNextToken(value, problem);
  if (value.username !== undefined && value.usernameEnvVar !== undefined) {
    problem("at most one of username and usernameEnvVar");
  }
  if (value.type === "api-key" && (value.headerName === undefined) === (value.queryParam === undefined)) {
    problem("exactly one of headerName and queryParam for type api-key");
  }
  if (value.scheme !== undefined && value.headerName === undefined) problem("scheme only with headerName");
}

const ONE_SECRET = ["bearer", "bot", "basic", "api-key"] as const;

/** Members that only some types have. */
const BELONGS = [
  [["tokenEnvVar", "tokenFile", "tokenCommand", "tokenCommandTtlSeconds"], ONE_SECRET],
  [["nextTokenEnvVar", "nextTokenFile"], ONE_SECRET],
  [["username", "usernameEnvVar"], ["basic"]],
  [["headerName", "queryParam"], ["api-key"]],
  [["scheme"], ["api-key"]],
  [["secrets", "headers", "query", "path", "form", "subprotocol", "sign"], ["custom"]],
  [OAUTH2_MEMBERS, ["oauth2"]],
  [GITHUB_APP_MEMBERS, ["github-app"]],
  [AWS_MEMBERS.filter((name) => name !== "maxSignedBodyBytes"), ["aws-sigv4"]],
  [["maxSignedBodyBytes"], ["aws-sigv4", "custom"]],
  [["of", "restSeconds"], ["pool"]],
] as const;

interface TokenSources {
  readonly tokenEnvVar?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly tokenCommand?: readonly string[] | undefined;
  readonly nextTokenEnvVar?: string | undefined;
  readonly nextTokenFile?: string | undefined;
}

function checkNextToken(sources: TokenSources, problem: (message: string) => void): void {
  const { tokenEnvVar, tokenFile, tokenCommand, nextTokenEnvVar, nextTokenFile } = sources;
  if (nextTokenEnvVar === undefined && nextTokenFile === undefined) return;
  if (nextTokenEnvVar !== undefined && nextTokenFile !== undefined) {
    problem("at most one of nextTokenEnvVar and nextTokenFile");
  }
  if (tokenCommand !== undefined) problem("nextTokenEnvVar and nextTokenFile only with tokenEnvVar or tokenFile");
  const isSame = (one: string | undefined, other: string | undefined) => one !== undefined && one === other;
  if (isSame(nextTokenEnvVar, tokenEnvVar)) problem("nextTokenEnvVar names another variable than tokenEnvVar");
  if (isSame(nextTokenFile, tokenFile)) problem("nextTokenFile names another file than tokenFile");
}

function listed(names: readonly string[]): string {
  return names.length === 1 ? String(names[0]) : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

export type AuthDefinition = z.output<typeof authSchema>;
