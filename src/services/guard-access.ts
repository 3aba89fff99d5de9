/**
 * Changes of a service that need `manage:keys`, because they decide which callers may use it.
 * Invariant: a key that may only change services cannot open one.
 */
import { isDeepStrictEqual } from "node:util";
import type { Author } from "../callers/audit.ts";
import { refusePermission } from "../callers/decide-permission.ts";
import { isObject } from "../is-object.ts";
import type { StoredService } from "./stored-services.ts";

/** `access` and `verify` decide which callers may use a service, so a caller needs `manage:keys` to change them. @throws GatewayError */
export function guardAccess(author: Author, before: StoredService["config"] | undefined, after: unknown): void {
  const accessOf = (input: unknown) => (isObject(input) ? [input.access ?? "key", input.verify] : ["key", undefined]);
  if (!isDeepStrictEqual(accessOf(before), accessOf(after))) requireKeysPermission(author);
}

/**
 * Also for `webContent: pass`: pages of the upstream then act on the gateway's origin, where they can leave a service worker that reads
 * keys later, even after the service is isolated again. @throws GatewayError
 */
export function requireKeysPermission({ issued }: Author): void {
  if (issued === undefined || issued.permissions.allowsManage("keys")) return;
  throw refusePermission("manage:keys");
}
