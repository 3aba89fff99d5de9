/** What an issued key may do: the refusals of a key that is good, and good for less than was asked. */
import { GatewayError } from "../errors.ts";
import type { Caller } from "./callers.ts";
import { type ManagePart, requiredFor } from "./permissions.ts";

export interface AskedOfProxy {
  readonly serviceKey: string;
  readonly method: string;
  /** Behind the base URL as the upstream will see it, without the query. */
  readonly path: string;
  readonly address: string;
}

export function decideProxyPermission(caller: Caller, asked: AskedOfProxy): GatewayError | undefined {
  const { issued } = caller;
  if (issued === undefined) return undefined;
  const elsewhere = decideAddress(caller, asked.address);
  if (elsewhere !== undefined) return elsewhere;
  const { serviceKey, method, path } = asked;
  if (issued.permissions.allowsProxy(serviceKey, method, path || "/")) return undefined;
  return refusePermission(requiredFor(serviceKey, method, path || "/"));
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
