/**
 * Who may give a service a host or a port of its own, and which ones are free.
 * Invariant: a change over REST takes no address of another service or of the gateway, and only `manage:*` changes addresses: they decide
 * what other programs reach.
 */
import { isDeepStrictEqual } from "node:util";
import type { Author } from "../callers/audit.ts";
import { refusePermission } from "../callers/decide-permission.ts";
import { type Addressed, ServiceAddresses } from "../config/service-addresses.ts";
import { GatewayError } from "../errors.ts";
import { PortUnavailable } from "./port-unavailable.ts";

interface ConfiguredAddresses {
  readonly hosts?: unknown;
  readonly port?: unknown;
}

/** @param before undefined for a service that does not exist; @param after as well. @throws GatewayError */
export function guardAddresses(
  { issued }: Author,
  before: ConfiguredAddresses | undefined,
  after: ConfiguredAddresses | undefined,
): void {
  if (issued === undefined || issued.permissions.allowsManage("*")) return;
  const addressesIn = (config: ConfiguredAddresses | undefined) => [config?.hosts ?? [], config?.port ?? null];
  if (!isDeepStrictEqual(addressesIn(before), addressesIn(after))) throw refusePermission("manage:*");
}

/** @param served all services. @throws GatewayError DUPLICATE_ENTRY if another one has an address of this service. */
export function requireFreeAddresses(service: Addressed, served: readonly Addressed[]): void {
  if (service.hosts.length === 0 && service.port === undefined) return;
  const others = ServiceAddresses.of(served.filter(({ key }) => key !== service.key));
  const [taken] = others.add(service);
  if (taken === undefined) return;
  const what = taken.path[0] === "port" ? "port" : "host";
  throw new GatewayError("DUPLICATE_ENTRY", {
    message: `The ${what} ${taken.shown} of ${service.key} belongs to ${taken.owner} already.`,
    hint: `Choose another ${what}, or take it from ${taken.owner} first.`,
  });
}

/** A port that cannot be opened is a problem of the body. */
export function portRefusal(error: unknown, at: string): unknown {
  if (!(error instanceof PortUnavailable)) return error;
  const field = at === "" ? "port" : `${at}.port`;
  return new GatewayError("VALIDATION_ERROR", {
    message: `The service is not valid: ${field}.`,
    extra: { details: { [field]: [error.problem] } },
  });
}
