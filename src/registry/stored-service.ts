/** A service that was added, or changed, over REST: as it is stored. */
import { isObject } from "../is-object.ts";

export interface StoredService {
  /** As the caller wrote it, by the schema of the services file. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** What is in `config` is checked anew at each start: the schema may have changed. */
export function isStoredService(value: unknown): value is StoredService {
  return isObject(value) && isObject(value.config);
}
