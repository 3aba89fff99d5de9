/**
 * Classifies host names and addresses by their text, without DNS.
 * Invariant: only for refusals and warnings at start. Whether an upstream may be dialled is decided when it is dialled.
 */
import { BlockList, isIP } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8);
loopback.addAddress("::1", "ipv6");

const inside = new BlockList();
for (const [network, bits] of [
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
] as const) {
  inside.addSubnet(network, bits);
}
inside.addSubnet("fc00::", 7, "ipv6");
inside.addSubnet("fe80::", 10, "ipv6");

const isIn = (list: BlockList, host: string) => {
  const version = isIP(host);
  return version !== 0 && list.check(host, version === 4 ? "ipv4" : "ipv6");
};

const withoutBrackets = (host: string) => host.replace(/^\[(.*)\]$/, "$1").toLowerCase();

const BOTH_LOOPBACKS: readonly string[] = ["127.0.0.1", "::1"];

/**
 * The addresses to listen on. `localhost` stands for both loopback addresses: clients try ::1 or 127.0.0.1 first, and neither may
 * lead to another process.
 */
export function listenAddresses(host: string): readonly string[] {
  return /^localhost\.?$/i.test(host) ? BOTH_LOOPBACKS : [withoutBrackets(host)];
}

/** The name in a Host header: lower-cased, without port, brackets and a trailing dot; an IPv6 address may lack its brackets. */
export function hostName(host = ""): string {
  const name = host.toLowerCase();
  const bracketed = /^\[([^\]]*)\]/.exec(name)?.[1];
  if (bracketed !== undefined) return bracketed;
  return name.replace(/^([^:]*):\d*$/, "$1").replace(/\.$/, "");
}

/** 127.0.0.0/8, ::1, localhost and the names under it (RFC 6761 section 6.3). */
export function isLoopbackHost(host: string): boolean {
  const name = withoutBrackets(host);
  return isIn(loopback, name) || name === "localhost" || name.endsWith(".localhost");
}

/** Loopback, a private address, or a name for private networks: a single label, .local, .internal and similar. */
export function isPrivateHost(host: string): boolean {
  const name = withoutBrackets(host);
  if (isIP(name) !== 0) return isIn(loopback, name) || isIn(inside, name);
  return isLoopbackHost(name) || !name.includes(".") || /\.(local|internal|lan|home\.arpa|test|svc)$/.test(name);
}
