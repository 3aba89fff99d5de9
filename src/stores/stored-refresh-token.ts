/** A refresh token that a token endpoint issued in place of the configured one, or what a login obtained. */
import { isObject } from "../is-object.ts";

export interface StoredRefreshToken {
  /** The key of the service that it was issued for. */
  readonly service: string;
  readonly token: string;
  /** Of a token that comes from a login. */
  readonly login?: StoredLogin;
}

export interface StoredLogin {
  /** Differs for each login: another login may be another account of the upstream. */
  readonly id: string;
  /** The token is itself an access token, which does not expire. */
  readonly isAccessToken?: true;
  /** Of such an access token, as it was granted. */
  readonly scope?: string | undefined;
}

export function isStoredRefreshToken(value: unknown): value is StoredRefreshToken {
  return (
    isObject(value) &&
    typeof value.service === "string" &&
    typeof value.token === "string" &&
    value.token !== "" &&
    (value.login === undefined || isStoredLogin(value.login))
  );
}

function isStoredLogin(value: unknown): value is StoredLogin {
  return (
    isObject(value) &&
    typeof value.id === "string" &&
    (value.isAccessToken === undefined || value.isAccessToken === true) &&
    (value.scope === undefined || typeof value.scope === "string")
  );
}
