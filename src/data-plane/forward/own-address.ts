/**
 * Decides whether an address or a URL leads to this gateway, and to which service's own host or port: by a name that the client uses
 * for it, or by the address of a listener in any spelling. Invariant: names are compared as text, never resolved.
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";
import { isLoopbackHost } from "../../config/hosts.ts";
import type { ServiceAddresses } from "../../config/service-addresses.ts";

interface OwnListener {
  readonly address: string;
  readonly port: number;
  /** The key of the only service that it serves. */
  readonly service?: string | undefined;
}

/** The gateway's listeners now. */
export type OwnListeners = () => readonly OwnListener[];

/** Where on the gateway a URL leads. */
export interface OwnPlace {
  /** The service whose own host or port it is; undefined for a host of the gateway, where the path decides. */
  readonly service: string | undefined;
}

export interface OwnNames {
  /** Names with ports, as in a Host header, under which the client may know the gateway. */
  readonly hosts: readonly string[];
  readonly services: Pick<ServiceAddresses, "find">;
  readonly listeners: OwnListeners | undefined;
}

const GATEWAY: OwnPlace = { service: undefined };

/** @returns a function that gives undefined for a URL that does not lead to the gateway. */
export function createOwnAddress({ hosts, services, listeners }: OwnNames): (url: URL) => OwnPlace | undefined {
  const names = new Set<string>();
  for (const host of hosts) if (URL.canParse(`http://${host}`)) names.add(nameOf(new URL(`http://${host}`)));
  // Read at most once: a response may have thousands of links, and the system takes 0.1 ms for each answer.
  let known: ReadonlySet<string> | undefined;
  const machine = () => {
    known ??= interfaceAddresses();
    return known;
  };
  return (url) => {
    // In the order in which the gateway decides: a service's host wins over the listener.
    const address = services.find(url.host);
    if (address !== undefined) return { service: address.key };
    const listener = listeners && listenerOf(url, listeners(), machine);
    if (listener !== undefined) return { service: listener.service };
    return names.has(nameOf(url)) ? GATEWAY : undefined;
  };
}

/** Without the scheme, because a server in front of the gateway may speak https; the URL parser has folded case and spellings. */
function nameOf({ hostname, port }: URL): string {
  return `${hostname.replace(/\.+$/, "")}:${port === "80" || port === "443" ? "" : port}`;
}

function listenerOf(url: URL, listeners: readonly OwnListener[], machine: MachineAddresses): OwnListener | undefined {
  const port = portOf(url);
  const addresses = addressesIn(url);
  return listeners.find(
    (own) => own.port === port && addresses.some((address) => isSameMachine(address, own.address, machine)),
  );
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

/** The addresses of this machine's interfaces now. */
type MachineAddresses = () => ReadonlySet<string>;

function interfaceAddresses(): ReadonlySet<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((entries = []) => entries.map(({ address }) => address)));
}

/** Whether a connection to `address` ends at a listener bound to `bound`. */
function isSameMachine(address: string, bound: string, machine: MachineAddresses = interfaceAddresses): boolean {
  const target = unmapped(address);
  const own = unmapped(bound);
  if (target === own || isUnspecified(target)) return true;
  if (!isUnspecified(own)) return false;
  if (target === "::1" || target.startsWith("127.")) return true;
  return machine().has(target);
}

const isUnspecified = (address: string) => address === "0.0.0.0" || address === "::";
/** One spelling for one address: `::ffff:7f00:1` is 127.0.0.1. */
const unmapped = (address: string) => (ipaddr.isValid(address) ? ipaddr.process(address).toString() : address);
