/**
 * The members of `auth` for a refresh token that comes from a login: where the person logs in, and what must fit together.
 * Invariant: the services file never holds the token itself.
 */
import { z } from "zod";

const URL_FORM = "an http:// or https:// URL without user info and fragment";

/** RFC 6749 sections 3.1 and 3.2: the endpoints have no fragment. */
export const endpoint = z
  .string()
  .max(2_048)
  .superRefine((text, refinement) => {
    if (!isEndpoint(text)) refinement.addIssue({ code: "custom", message: URL_FORM });
  })
  .meta({ allowed: URL_FORM });

export function isEndpoint(text: string): boolean {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text) || text.includes("#")) return false;
  const { username, password } = new URL(text);
  return username === "" && password === "";
}

export const loginMembers = {
  refreshToken: z
    .literal("login")
    .optional()
    .describe(
      "`refresh_token`: `login` if the refresh token comes from `byteproxy login` instead of a variable or file",
    ),
  authorizationUrl: endpoint
    .optional()
    .describe("`login`: the authorization endpoint, where a person logs in; its query is kept"),
  deviceAuthorizationUrl: endpoint
    .optional()
    .describe("`login`: the device authorization endpoint (RFC 8628), for `byteproxy login --device`"),
} as const;

interface LoginAuth {
  readonly grant?: string | undefined;
  readonly tokenUrl?: string | undefined;
  readonly refreshToken?: "login" | undefined;
  readonly authorizationUrl?: string | undefined;
  readonly deviceAuthorizationUrl?: string | undefined;
}

/** Beside the count of sources, which is checked with the others. */
export function checkLogin(auth: LoginAuth, problem: (message: string) => void): void {
  const { refreshToken, authorizationUrl, deviceAuthorizationUrl, tokenUrl } = auth;
  const hasEndpoint = authorizationUrl !== undefined || deviceAuthorizationUrl !== undefined;
  if (refreshToken === undefined) {
    if (hasEndpoint) problem('authorizationUrl and deviceAuthorizationUrl only with refreshToken "login"');
    return;
  }
  // Without tokenUrl, the metadata of the issuer name the endpoints.
  if (!hasEndpoint && tokenUrl !== undefined) {
    problem('authorizationUrl or deviceAuthorizationUrl with refreshToken "login"');
  }
}
