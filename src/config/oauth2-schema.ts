/**
 * The members of `auth` for type `oauth2` (RFC 6749): how the gateway obtains access tokens, and what must fit together.
 * Invariant: `params` cannot replace what a member of its own says.
 */
import { z } from "zod";
import { isLoopbackHost } from "./hosts.ts";
import { checkLogin, endpoint, loginMembers } from "./login-schema.ts";

/** RFC 6749 appendix A: VSCHAR. */
const visibleText = z
  .string()
  .min(1)
  .max(2_048)
  .regex(/^[\x20-\x7e]+$/, "printable ASCII characters");

const variableName = z
  .string()
  .max(256)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable")
  .meta({ allowed: "the name of an environment variable" });

/** Names that members of their own have, or that the grant sets. */
const OWN_PARAMETERS = [
  ...["grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"],
  ...["scope", "refresh_token", "assertion", "code", "redirect_uri", "username", "password"],
];

const PARAMETERS_LIMIT = 16;

export const oauth2Members = {
  grant: z
    .enum(["client_credentials", "refresh_token"])
    .optional()
    .describe("`oauth2`: how access tokens are obtained: `client_credentials` or `refresh_token`"),
  tokenUrl: endpoint.optional().describe("`oauth2`: the token endpoint"),
  issuer: visibleText
    .optional()
    .describe(
      "`oauth2`: instead of `tokenUrl`, the issuer whose metadata name the endpoints (RFC 8414, OpenID Connect)",
    ),
  clientId: visibleText.optional().describe("`oauth2`: the client's identifier"),
  clientIdEnvVar: variableName
    .optional()
    .describe("`oauth2`: environment variable that holds the client's identifier, instead of `clientId`"),
  clientSecretEnvVar: variableName.optional().describe("`oauth2`: environment variable that holds the client's secret"),
  clientSecretFile: z
    .string()
    .min(1)
    .max(4_096)
    .optional()
    .describe("`oauth2`: file that holds the client's secret; line breaks at its end are removed"),
  clientAuth: z
    .enum(["basic", "post", "none"])
    .optional()
    .describe(
      "`oauth2`: how the client authenticates: `basic` (default: `Authorization: Basic …`), `post` (in the form) or `none` (a client without a secret)",
    ),
  refreshTokenEnvVar: variableName
    .optional()
    .describe("`refresh_token`: environment variable that holds the first refresh token"),
  refreshTokenFile: z
    .string()
    .min(1)
    .max(4_096)
    .optional()
    .describe("`refresh_token`: file that holds the first refresh token; line breaks at its end are removed"),
  ...loginMembers,
  scope: z
    .string()
    .max(4_096)
    .regex(
      /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/,
      "scopes with one space between them (RFC 6749 section 3.3)",
    )
    .optional()
    .describe("`oauth2`: the requested scopes, with a space between them"),
  audience: visibleText.optional().describe("`oauth2`: the parameter `audience`, which some providers require"),
  params: z
    .record(
      z.string().regex(/^[A-Za-z0-9_.-]{1,128}$/, "a parameter name of letters, digits, `_`, `.` and `-`"),
      z.string().max(2_048),
    )
    .optional()
    .describe("`oauth2`: more parameters of the token request by name; no place for secrets"),
} as const;

export const OAUTH2_MEMBERS = Object.keys(oauth2Members) as (keyof typeof oauth2Members)[];

type Oauth2Auth = z.output<z.ZodObject<typeof oauth2Members>>;

const countOf = (...sources: readonly unknown[]) => sources.filter((source) => source !== undefined).length;

export function checkOauth2(auth: Oauth2Auth, refinement: z.RefinementCtx): void {
  const problem = (message: string, path: PropertyKey[] = []) => refinement.addIssue({ code: "custom", path, message });
  if (auth.grant === undefined) problem("grant for type oauth2");
  checkIssuer(auth, problem);
  if ((auth.clientId === undefined) === (auth.clientIdEnvVar === undefined)) {
    problem("exactly one of clientId and clientIdEnvVar");
  }
  const secrets = countOf(auth.clientSecretEnvVar, auth.clientSecretFile);
  if (auth.clientAuth === "none" && secrets > 0)
    problem("neither clientSecretEnvVar nor clientSecretFile for clientAuth none");
  if (auth.clientAuth !== "none" && secrets !== 1) problem("exactly one of clientSecretEnvVar and clientSecretFile");
  const refreshTokens = countOf(auth.refreshTokenEnvVar, auth.refreshTokenFile, auth.refreshToken);
  if (auth.grant === "refresh_token" && refreshTokens !== 1) {
    problem("exactly one of refreshTokenEnvVar, refreshTokenFile and refreshToken for grant refresh_token");
  }
  checkLogin(auth, problem);
  if (auth.grant === "client_credentials") {
    if (refreshTokens > 0)
      problem("refreshTokenEnvVar, refreshTokenFile and refreshToken only for grant refresh_token");
    // RFC 6749 section 4.4: only for confidential clients.
    if (auth.clientAuth === "none") problem("basic or post for grant client_credentials", ["clientAuth"]);
  }
  const names = Object.keys(auth.params ?? {});
  if (names.length > PARAMETERS_LIMIT) {
    const message = `at most ${PARAMETERS_LIMIT} entries, these are ${names.length}`;
    refinement.addIssue({ code: "custom", path: ["params"], message, params: { isBudget: true } });
  }
  for (const name of names) {
    const isTaken = OWN_PARAMETERS.includes(name) || (name === "audience" && auth.audience !== undefined);
    if (isTaken) problem("a parameter that no other member of auth sets", ["params", name]);
  }
}

/** Metadata that another server on the way could change would lead the client's secret to that server. */
function checkIssuer({ tokenUrl, issuer }: Oauth2Auth, problem: (message: string, path?: PropertyKey[]) => void): void {
  if (tokenUrl !== undefined) {
    if (issuer !== undefined) problem("one of tokenUrl and issuer");
    return;
  }
  if (issuer === undefined) return problem("tokenUrl or issuer for type oauth2");
  if (!isIssuer(issuer)) problem(ISSUER_FORM, ["issuer"]);
}

const ISSUER_FORM = "an https:// URL without user info, query and fragment, or http:// on this machine";

/** RFC 8414 section 2. */
function isIssuer(text: string): boolean {
  if (!/^https?:\/\/[^?#]+$/i.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  return username === "" && password === "" && (protocol === "https:" || isLoopbackHost(hostname));
}
