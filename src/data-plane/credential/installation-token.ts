/**
 * Obtains tokens of an installation of a GitHub App, from the API below the base URL of the service.
 * https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app
 * Invariant: an installation that was found by its owner is looked up again when GitHub no longer knows it, because a new installation
 * has another number.
 */
import type { AuthDefinition } from "../../config/auth-schema.ts";
import type { SigningKey, UnusableKey } from "../../config/signing-key.ts";
import { isObject } from "../../is-object.ts";
import { type AccessToken, checkAccessToken, TokenFailure } from "./access-token.ts";
import { askEndpoint, type EndpointResponse, type SendToEndpoint } from "./endpoint-exchange.ts";
import { explainGithubRefusal, isSuspended } from "./github-refusal.ts";
import { signAssertion } from "./sign-assertion.ts";

export interface InstallationInput {
  readonly auth: AuthDefinition;
  readonly baseUrl: string;
  readonly signingKey: SigningKey | UnusableKey;
  readonly send: SendToEndpoint;
}

/** Seconds. GitHub accepts no more than 600, and advises to begin in the past, because clocks differ. */
const APP_TOKEN_LIFE = 300;
const EARLY_SECONDS = 60;

export function createInstallation({ auth, baseUrl, signingKey, send }: InstallationInput) {
  /** By its owner; undefined until it is needed. */
  let found: string | undefined;

  async function ask(path: string, signal: AbortSignal, body?: object): Promise<EndpointResponse> {
    const headers = {
      Accept: "application/vnd.github+json",
      "X-GitHub-Api-Version": "2022-11-28",
      Authorization: `Bearer ${await signAppToken(auth, signingKey)}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    };
    const method = body === undefined ? "GET" : "POST";
    const request = { method, headers, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) } as const;
    return askEndpoint(`${baseUrl.replace(/\/$/, "")}${path}`, request, send);
  }

  /** Users and organizations have separate paths. @throws TokenFailure */
  async function find(signal: AbortSignal): Promise<string> {
    const owner = encodeURIComponent(auth.owner ?? "");
    let response: EndpointResponse | undefined;
    for (const kind of ["users", "orgs"]) {
      response = await ask(`/${kind}/${owner}/installation`, signal);
      if (response.status !== 404) break;
    }
    if (response?.status !== 200) throw explainGithubRefusal(response as EndpointResponse, "owner");
    const { id, suspended_at } = readJson(response.text);
    if (suspended_at !== null && suspended_at !== undefined) throw isSuspended();
    if (!Number.isSafeInteger(id)) throw new TokenFailure("responded without the number of an installation");
    return String(id);
  }

  async function issue(id: string, signal: AbortSignal): Promise<EndpointResponse> {
    const { repositories, permissions } = auth;
    const body = { ...(repositories && { repositories }), ...(permissions && { permissions }) };
    return ask(`/app/installations/${id}/access_tokens`, signal, body);
  }

  return {
    /** @throws TokenFailure */
    async fetchToken(signal: AbortSignal): Promise<AccessToken> {
      if (auth.installationId !== undefined) return readToken(await issue(String(auth.installationId), signal));
      const known = found;
      // After a failure of any kind, the next fetch looks it up.
      found = undefined;
      let id = known ?? (await find(signal));
      let response = await issue(id, signal);
      if (response.status === 404 && known !== undefined) {
        id = await find(signal);
        response = await issue(id, signal);
      }
      const token = readToken(response);
      found = id;
      return token;
    },
  };
}

/** The app's own token: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app */
function signAppToken({ appId }: AuthDefinition, key: SigningKey | UnusableKey): Promise<string> {
  if ("allowed" in key) throw new TokenFailure("was not asked, because the private key cannot be used");
  const now = Math.floor(Date.now() / 1_000);
  return signAssertion(key, { iss: String(appId), iat: now - EARLY_SECONDS, exp: now + APP_TOKEN_LIFE });
}

function readJson(text: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch {
    // As any other text that is no object.
  }
  throw new TokenFailure("responded with something other than a JSON object");
}

/** RFC 3339: without its zone it would be a time of this machine. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

function readToken(response: EndpointResponse): AccessToken {
  const { status, text, headers } = response;
  if (status !== 201 && status !== 200) throw explainGithubRefusal(response, "installation");
  const { token, expires_at, permissions } = readJson(text);
  if (typeof token !== "string") throw new TokenFailure("responded without a valid token");
  const endsAt = typeof expires_at === "string" && TIME.test(expires_at) ? Date.parse(expires_at) : Number.NaN;
  if (Number.isNaN(endsAt)) throw new TokenFailure("responded without a valid expires_at");
  // By GitHub's own clock, where it says what that is.
  const sentAt = typeof headers.date === "string" ? Date.parse(headers.date) : Number.NaN;
  const expiresIn = (endsAt - (Number.isNaN(sentAt) ? Date.now() : sentAt)) / 1_000;
  return checkAccessToken({ text: token, expiresIn, scope: describePermissions(permissions), refreshToken: undefined });
}

/** For operators: `contents:read metadata:read`. */
function describePermissions(permissions: unknown): string | undefined {
  if (!isObject(permissions)) return undefined;
  const parts = Object.entries(permissions).map(([name, level]) => `${name}:${level}`);
  const text = parts.sort().join(" ");
  return text.length <= 1_024 && /^[a-z_]+:[a-z]+(?: [a-z_]+:[a-z]+)*$/.test(text) ? text : undefined;
}
