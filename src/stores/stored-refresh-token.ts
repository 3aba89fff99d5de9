/** A refresh token that a token endpoint issued in place of the configured one. */
import { isObject } from "../is-object.ts";

export interface StoredRefreshToken {
  /** The key of the service that it was issued for. */
  readonly service: string;
  readonly token: string;
}

export function isStoredRefreshToken(value: unknown): value is StoredRefreshToken {
  return isObject(value) && typeof value.service === "string" && typeof value.token === "string" && value.token !== "";
}
