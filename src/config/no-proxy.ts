/**
 * The hosts that are reached without the egress proxy: those of NO_PROXY, and loopback.
 * Invariant: hosts are compared as text, never resolved. An entry that cannot be read matches no host, as in curl.
 */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import ipaddr from "ipaddr.js";
import { isLoopbackHost } from "./hosts.ts";

/** @param hostname as in a URL. @param port undefined for any. */
export type IsDirect = (hostname: string, port: number | undefined) => boolean;

interface Entry {
  /** Undefined for every port. */
  readonly port: number | undefined;
  readonly matches: (host: string) => boolean;
}

/** @param list entries with commas or spaces between them: names, `.suffix`, addresses and CIDRs, each with an optional port; `*`. */
export function createNoProxy(list: string): IsDirect {
  const entries = list.split(/[\s,]+/).flatMap((text) => readEntry(text.toLowerCase()) ?? []);
  return (hostname, port) => {
    const host = hostname
      .toLowerCase()
      .replace(/^\[(.*)\]$/, "$1")
      .replace(/\.$/, "");
    if (isLoopbackHost(host)) return true;
    return entries.some((entry) => (entry.port === undefined || entry.port === port) && entry.matches(host));
  };
}

function readEntry(text: string): Entry | undefined {
  if (text === "") return undefined;
  if (text === "*") return { port: undefined, matches: () => true };
  if (text.includes("/")) return { port: undefined, matches: matchesRange(text) };
  // An IPv6 address without brackets has colons of its own.
  const [, host = "", port] = isIP(text) === 6 ? ["", text] : (/^(.+?)(?::(\d{1,5}))?$/.exec(text) ?? []);
  const name = host.replace(/^\[(.*)\]$/, "$1");
  return {
    port: port === undefined ? undefined : Number(port),
    matches: isIP(name) === 0 ? matchesName(name) : matchesAddress(name),
  };
}

/** The name itself and every name under it, with or without a leading `.` or `*.`. */
function matchesName(text: string): Entry["matches"] {
  const given = text.replace(/^\*?\./, "").replace(/\.$/, "");
  // As a URL writes it: `bücher.example` is `xn--bcher-kva.example`.
  const name = /[^\x00-\x7f]/.test(given) ? domainToASCII(given) : given;
  return (host) => name !== "" && (host === name || host.endsWith(`.${name}`));
}

function matchesAddress(text: string): Entry["matches"] {
  const address = ipaddr.process(text).toString();
  return (host) => isIP(host) !== 0 && ipaddr.process(host).toString() === address;
}

function matchesRange(text: string): Entry["matches"] {
  try {
    const [network, bits] = ipaddr.parseCIDR(text.replace(/^\[(.*)\]/, "$1"));
    return (host) => {
      if (isIP(host) === 0) return false;
      const address = ipaddr.process(host);
      return address.kind() === network.kind() && address.match(network, bits);
    };
  } catch {
    return () => false;
  }
}
