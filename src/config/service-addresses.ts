/**
 * The addresses that belong to one service only: the names in its `hosts`, and its `port`.
 * Invariant: a name has one form here, however a client or an operator writes it; names are compared as text, never resolved; and no
 * address belongs to two services.
 */
import { isIP } from "node:net";
import { z } from "zod";

/** The address to which a client sent a request, if it belongs to one service only. */
export interface ServiceAddress {
  /** Of the service. */
  readonly key: string;
  readonly by: "host" | "port";
  /** The same name with another port may belong to another service. Browsers ignore the port of a cookie. */
  readonly sharesCookies: boolean;
}

/** What other code needs of a service here. */
export interface Addressed {
  readonly key: string;
  readonly hosts: readonly string[];
  readonly port?: number | undefined;
}

/** Labels of letters, digits, `-` and `_`; then perhaps a port. */
const HOST =
  /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?(?::[1-9]\d{0,4})?$/i;

const ALLOWED =
  "a host name such as `github.localhost`, with or without a port; no IP address, no wildcard, not `localhost`; other scripts as `xn--…`";

export const serviceHost = z.string().max(259).refine(isServiceHost, ALLOWED).meta({ allowed: ALLOWED });

/** The longest name that DNS can hold, characters. */
const LONGEST_NAME = 253;
const HIGHEST_PORT = 65_535;

function isServiceHost(text: string): boolean {
  if (!HOST.test(text)) return false;
  const { name, port } = splitHost(text);
  if (name === "localhost" || name.length > LONGEST_NAME || port > HIGHEST_PORT) return false;
  // The URL standard reads `127.1`, `0x7f.1` and `2130706433` as addresses, and refuses other names that end in a number.
  return URL.canParse(`http://${name}`) && isIP(new URL(`http://${name}`).hostname) === 0;
}

/** Stands for `http` and `https` without a port: a server in front of the gateway may speak https. */
const DEFAULT_PORT = 80;

/** Of a Host header or an entry of `hosts`: the name without case and trailing dot, and the port without leading zeros. */
export function splitHost(host: string): { readonly name: string; readonly port: number } {
  const colon = host.lastIndexOf(":");
  const end = colon === -1 ? host.length : colon;
  const nameEnd = host.charCodeAt(end - 1) === 46 /* . */ ? end - 1 : end;
  const port = colon === -1 ? DEFAULT_PORT : Number(host.slice(colon + 1)) || (host.endsWith(":") ? DEFAULT_PORT : 0);
  return { name: host.slice(0, nameEnd).toLowerCase(), port: port === 443 ? DEFAULT_PORT : port };
}

const hasPort = (host: string) => host.includes(":");

/** An address that another service has. */
export interface TakenAddress {
  /** The member of the service. */
  readonly path: readonly (string | number)[];
  readonly shown: string;
  /** The key of the other service. */
  readonly owner: string;
}

/** The address of a service's own port, under every host name. */
export function portAddress(key: string): ServiceAddress {
  return { key, by: "port", sharesCookies: true };
}

/** The addresses of all services that are served. */
export class ServiceAddresses {
  /** By name: the address for every port, or addresses by port. */
  readonly #hosts = new Map<string, ServiceAddress | Map<number, ServiceAddress>>();
  readonly #ports = new Map<number, ServiceAddress>();
  /** Most gateways have none, and each request asks. */
  hasHosts = false;

  static of(services: Iterable<Addressed>): ServiceAddresses {
    const addresses = new ServiceAddresses();
    for (const service of services) addresses.add(service);
    return addresses;
  }

  /** @param host a Host header, or the host of a URL. */
  find(host: string | undefined): ServiceAddress | undefined {
    if (host === undefined) return undefined;
    const { name, port } = splitHost(host);
    const found = this.#hosts.get(name);
    return found instanceof Map ? found.get(port) : found;
  }

  findPort(port: number): ServiceAddress | undefined {
    return this.#ports.get(port);
  }

  /** @returns the addresses that another service has already; they are not added. */
  add({ key, hosts, port }: Addressed): readonly TakenAddress[] {
    const taken: TakenAddress[] = [];
    for (const [at, host] of hosts.entries()) {
      const owner = this.#addHost(key, host);
      if (owner !== undefined) taken.push({ path: ["hosts", at], shown: host, owner });
    }
    if (port === undefined) return taken;
    const owner = this.#ports.get(port)?.key ?? key;
    if (owner === key) this.#ports.set(port, portAddress(key));
    else taken.push({ path: ["port"], shown: String(port), owner });
    return taken;
  }

  /** @returns the key of the other service that has the host. */
  #addHost(key: string, host: string): string | undefined {
    const { name, port } = splitHost(host);
    const known = this.#hosts.get(name);
    const isForEveryPort = !hasPort(host);
    const rivals = known instanceof Map ? (isForEveryPort ? [...known.values()] : [known.get(port)]) : [known];
    const rival = rivals.find((address) => address !== undefined && address.key !== key);
    if (rival !== undefined) return rival.key;
    this.hasHosts = true;
    if (isForEveryPort) this.#hosts.set(name, { key, by: "host", sharesCookies: false });
    else if (known === undefined) this.#hosts.set(name, new Map([[port, { key, by: "host", sharesCookies: true }]]));
    else if (known instanceof Map) known.set(port, { key, by: "host", sharesCookies: true });
    return undefined;
  }
}

/** Names under `.localhost`, which browsers and RFC 6761 section 6.3 keep on this machine. */
export function isUnderLocalhost(host: string): boolean {
  return splitHost(host).name.endsWith(".localhost");
}
