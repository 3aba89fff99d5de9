/**
 * The members of `auth` for type `oauth2` (RFC 6749): how the gateway obtains access tokens, and what must fit together.
 * Invariant: `params` cannot replace what a member of its own says.
 */
import { z } from "zod";
import { assertionMembers, checkKey, signs } from "./assertion-schema.ts";
import { isLoopbackHost } from "./hosts.ts";
import { checkLogin, endpoint, loginMembers } from "./login-schema.ts";
import { filePath, variableName } from "./source-names.ts";

/** RFC 6749 appendix A: VSCHAR. */
const visibleText = z
  .string()
  .min(1)
  .max(2_048)
  .regex(/^[\x20-\x7e]+$/, "printable ASCII characters");

/** Names that members of their own have, or that the grant sets. */
const OWN_PARAMETERS = [
  ...["grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"],
  ...["scope", "refresh_token", "assertion", "code", "redirect_uri", "username", "password"],
];

const PARAMETERS_LIMIT = 16;

export const oauth2Members = {
  grant: z
    .enum(["client_credentials", "refresh_token", "jwt_bearer"])
    .optional()
    .describe(
      "`oauth2`: how access tokens are obtained: `client_credentials`, `refresh_token` or `jwt_bearer` (an assertion that the gateway signs, RFC 7523)",
    ),
  tokenUrl: endpoint
    .optional()
    .describe("`oauth2`: the token endpoint; default: the one in the key file of a Google service account"),
  issuer: visibleText
    .optional()
    .describe(
      "`oauth2`: without `tokenUrl`, the issuer whose metadata name the endpoints (RFC 8414, OpenID Connect); with it, the issuer (`iss`) of assertions that the gateway signs",
    ),
  clientId: visibleText.optional().describe("`oauth2`: the client's identifier"),
  clientIdEnvVar: variableName
    .optional()
    .describe("`oauth2`: environment variable that holds the client's identifier, instead of `clientId`"),
  clientSecretEnvVar: variableName.optional().describe("`oauth2`: environment variable that holds the client's secret"),
  clientSecretFile: filePath
    .optional()
    .describe("`oauth2`: file that holds the client's secret; line breaks at its end are removed"),
  clientAuth: z
    .enum(["basic", "post", "private_key_jwt", "none"])
    .optional()
    .describe(
      "`oauth2`: how the client authenticates: `basic` (default: `Authorization: Basic …`), `post` (in the form), `private_key_jwt` (an assertion that the gateway signs) or `none` (a client without a secret; the default of `jwt_bearer`)",
    ),
  ...assertionMembers,
  refreshTokenEnvVar: variableName
    .optional()
    .describe("`refresh_token`: environment variable that holds the first refresh token"),
  refreshTokenFile: filePath
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
    .describe("`oauth2`: the requested scopes, with a space between them; for `jwt_bearer` a claim of the assertion"),
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

/** How the client authenticates, with the default of its grant. */
export function clientAuthOf(auth: Oauth2Auth): NonNullable<Oauth2Auth["clientAuth"]> {
  // RFC 7523 section 3.1: the assertion is enough.
  const isAlone = auth.grant === "jwt_bearer" && countOf(auth.clientSecretEnvVar, auth.clientSecretFile) === 0;
  return auth.clientAuth ?? (isAlone ? "none" : "basic");
}

type Problem = (message: string, path?: PropertyKey[]) => void;

export function checkOauth2(auth: Oauth2Auth, refinement: z.RefinementCtx): void {
  const problem: Problem = (message, path = []) => refinement.addIssue({ code: "custom", path, message });
  if (auth.grant === undefined) problem("grant for type oauth2");
  checkIssuer(auth, problem);
  checkClient(auth, problem);
  checkKey(auth, problem);
  const refreshTokens = countOf(auth.refreshTokenEnvVar, auth.refreshTokenFile, auth.refreshToken);
  if (auth.grant === "refresh_token" && refreshTokens !== 1) {
    problem("exactly one of refreshTokenEnvVar, refreshTokenFile and refreshToken for grant refresh_token");
  }
  if (auth.grant !== "refresh_token" && auth.grant !== undefined && refreshTokens > 0) {
    problem("refreshTokenEnvVar, refreshTokenFile and refreshToken only for grant refresh_token");
  }
  checkLogin(auth, problem);
  checkParameters(auth, refinement);
}

function checkClient(auth: Oauth2Auth, problem: Problem): void {
  const method = clientAuthOf(auth);
  const ids = countOf(auth.clientId, auth.clientIdEnvVar);
  const isAlone = auth.grant === "jwt_bearer" && method === "none";
  if (ids !== 1 && !(isAlone && ids === 0)) problem("exactly one of clientId and clientIdEnvVar");
  const secrets = countOf(auth.clientSecretEnvVar, auth.clientSecretFile);
  const isSecret = method === "basic" || method === "post";
  if (isSecret && secrets !== 1) problem("exactly one of clientSecretEnvVar and clientSecretFile");
  if (!isSecret && secrets > 0) problem(`neither clientSecretEnvVar nor clientSecretFile for clientAuth ${method}`);
  // RFC 6749 section 4.4: only for confidential clients.
  if (auth.grant === "client_credentials" && method === "none") {
    problem("basic, post or private_key_jwt for grant client_credentials", ["clientAuth"]);
  }
}

function checkParameters(auth: Oauth2Auth, refinement: z.RefinementCtx): void {
  const names = Object.keys(auth.params ?? {});
  if (names.length > PARAMETERS_LIMIT) {
    const message = `at most ${PARAMETERS_LIMIT} entries, these are ${names.length}`;
    refinement.addIssue({ code: "custom", path: ["params"], message, params: { isBudget: true } });
  }
  for (const name of names) {
    // For servers that take it from the form also for an assertion (RFC 7521 section 4.1).
    const isOwn = OWN_PARAMETERS.includes(name) && !(name === "scope" && auth.grant === "jwt_bearer");
    if (!isOwn && !(name === "audience" && auth.audience !== undefined)) continue;
    const message = "a parameter that no other member of auth sets";
    refinement.addIssue({ code: "custom", path: ["params", name], message });
  }
  const { tokenUrl = "" } = auth;
  const inUrl = URL.canParse(tokenUrl) ? [...new URL(tokenUrl).searchParams.keys()] : [];
  if (inUrl.some((name) => OWN_PARAMETERS.includes(name))) {
    const message = "a URL without the client's parameters and secrets in its query (RFC 6749 section 2.3.1)";
    refinement.addIssue({ code: "custom", path: ["tokenUrl"], message });
  }
}

/** Metadata that another server on the way could change would lead the client's secret to that server. */
function checkIssuer(auth: Oauth2Auth, problem: Problem): void {
  const { tokenUrl, issuer } = auth;
  // Of assertions, or without tokenUrl in auth and in the key file that of the metadata, which is checked with the key.
  if (signs(auth)) return;
  if (tokenUrl !== undefined) {
    if (issuer !== undefined) problem("one of tokenUrl and issuer");
    return;
  }
  if (issuer === undefined) return problem("tokenUrl or issuer for type oauth2");
  if (!isIssuer(issuer)) problem(ISSUER_FORM, ["issuer"]);
}

export const ISSUER_FORM = "an https:// URL without user info, query and fragment, or http:// on this machine";

/** RFC 8414 section 2. */
export function isIssuer(text: string): boolean {
  if (!/^https?:\/\/[^?#]+$/i.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  return username === "" && password === "" && (protocol === "https:" || isLoopbackHost(hostname));
}
