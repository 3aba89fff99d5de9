/** The secret that a rotation has changed a service to, while the configuration still names both. */
import { isObject } from "../is-object.ts";

/** Names of secrets that do not reveal them. */
export interface StoredPromotion {
  /** The secret before. */
  readonly from: string;
  /** The secret since. */
  readonly to: string;
}

export function isStoredPromotion(value: unknown): value is StoredPromotion {
  return isObject(value) && typeof value.from === "string" && typeof value.to === "string";
}
