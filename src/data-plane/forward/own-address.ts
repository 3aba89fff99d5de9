/**
 * Decides whether an address or a URL leads to this gateway: by a name that the client uses for it, or by the address of a listener in
 * any spelling. Invariant: names are compared as text, never resolved.
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";
import { isLoopbackHost } from "../../config/hosts.ts";

/** The gateway's listeners now. */
export type OwnListeners = () => readonly { readonly address: string; readonly port: number }[];

/** @param hosts names with ports, as in a Host header, under which the client may know the gateway. */
export function createOwnAddress(
  hosts: readonly string[],
  ownListeners: OwnListeners | undefined,
): (url: URL) => boolean {
  const names = new Set<string>();
  for (const host of hosts) if (URL.canParse(`http://${host}`)) names.add(nameOf(new URL(`http://${host}`)));
  return (url) => names.has(nameOf(url)) || (ownListeners !== undefined && leadsToListener(url, ownListeners));
}

/** Without the scheme, because a server in front of the gateway may speak https; the URL parser has folded case and spellings. */
function nameOf({ hostname, port }: URL): string {
  return `${hostname.replace(/\.+$/, "")}:${port === "80" || port === "443" ? "" : port}`;
}

function leadsToListener(url: URL, ownListeners: OwnListeners): boolean {
  return addressesIn(url).some((address) => isOwnListener(address, portOf(url), ownListeners));
}

/** The addresses that the URL itself names; empty for a name that has to be resolved. */
export function addressesIn({ hostname }: Pick<URL, "hostname">): readonly string[] {
  const host = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  if (isIP(host) !== 0) return [host];
  return isLoopbackHost(host) ? ["127.0.0.1", "::1"] : [];
}

export function portOf({ port, protocol }: Pick<URL, "port" | "protocol">): number {
  return Number(port) || (protocol === "https:" ? 443 : 80);
}

export function isOwnListener(address: string, port: number, ownListeners: OwnListeners): boolean {
  return ownListeners().some((own) => own.port === port && isSameMachine(address, own.address));
}

/** Whether a connection to `address` ends at a listener bound to `bound`. */
function isSameMachine(address: string, bound: string): boolean {
  const target = unmapped(address);
  const own = unmapped(bound);
  if (target === own || isUnspecified(target)) return true;
  if (!isUnspecified(own)) return false;
  if (target === "::1" || target.startsWith("127.")) return true;
  return Object.values(networkInterfaces()).some((entries) => entries?.some((entry) => entry.address === target));
}

const isUnspecified = (address: string) => address === "0.0.0.0" || address === "::";
/** One spelling for one address: `::ffff:7f00:1` is 127.0.0.1. */
const unmapped = (address: string) => (ipaddr.isValid(address) ? ipaddr.process(address).toString() : address);
