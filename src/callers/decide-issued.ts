/** What an issued key may do: the refusals of a key that is good, and good for less than was asked. */
import { GatewayError } from "../errors.ts";
import type { Caller } from "./callers.ts";
import { overridesIn } from "./override-headers.ts";
import { type ManagePart, methodToJudge, requiredFor } from "./permissions.ts";

/** Within no pattern: only who may use every path may use it. */
const ANY_PATH = "%";

export interface AskedOfProxy {
  readonly serviceKey: string;
  readonly method: string;
  /** Behind the base URL as the upstream will see it, without the query. */
  readonly path: string;
  readonly address: string;
  readonly rawHeaders: readonly string[];
}

export function decideProxyPermission(caller: Caller, asked: AskedOfProxy): GatewayError | undefined {
  const { issued } = caller;
  if (issued === undefined) return undefined;
  const elsewhere = decideAddress(caller, asked.address);
  if (elsewhere !== undefined) return elsewhere;
  const { serviceKey, method, rawHeaders } = asked;
  const path = asked.path || "/";
  const { allowsProxy } = issued.permissions;
  if (!allowsProxy(serviceKey, method, path)) return refusePermission(requiredFor(serviceKey, method, path));
  const overrides = overridesIn(rawHeaders);
  if (overrides === undefined) return undefined;
  // It must be allowed as what it is, and as all that it may be taken for; each once, however long the list is that a caller sends.
  for (const other of new Set([method, ...overrides.methods].map(methodToJudge))) {
    if (overrides.isOfAnyPath && !allowsProxy(serviceKey, other, ANY_PATH))
      return refusePermission(requiredFor(serviceKey, other, ANY_PATH));
    if (!allowsProxy(serviceKey, other, path)) return refusePermission(requiredFor(serviceKey, other, path));
  }
  return undefined;
}

/** @param parts any one of which is enough; the first is named where there is none. */
export function decideManagePermission({ issued }: Caller, parts: readonly ManagePart[]): GatewayError | undefined {
  if (issued === undefined) return undefined;
  if (parts.some((part) => issued.permissions.allowsManage(part))) return undefined;
  return refusePermission(`manage:${parts[0] ?? "*"}`);
}

export function refusePermission(required: string): GatewayError {
  const message = `The key may not do this: it needs ${required}.`;
  return new GatewayError("INSUFFICIENT_PERMISSIONS", { message, extra: { required } });
}

/** On every route: a key that is held to addresses is good for nothing elsewhere. */
export function decideAddress({ issued }: Caller, address: string): GatewayError | undefined {
  if (issued === undefined || issued.allowsAddress(address)) return undefined;
  return new GatewayError("IP_NOT_ALLOWED", { message: `The key may not be used from ${address}.` });
}
