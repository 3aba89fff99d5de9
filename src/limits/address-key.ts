/** The key that an address is counted under: by limits, by the lock-out and by the cap on connections. */
import ipaddr from "ipaddr.js";

/** One key for each client: IPv4-mapped addresses are IPv4, and an IPv6 client owns its whole /64. */
export function addressKey(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4") return parsed.toString();
  const embedded = embeddedIPv4(parsed as ipaddr.IPv6);
  if (embedded !== undefined) return embedded;
  return `${(parsed as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
}

/**
 * The IPv4 address of a client behind a translator: its own, while all clients of the translator share a /64 (NAT64, RFC 6052;
 * Teredo, RFC 4380), or one client has a whole /48 (6to4, RFC 3056).
 */
function embeddedIPv4({ parts }: ipaddr.IPv6): string | undefined {
  const [a, b, c, d, e, f, high, low] = parts as [number, number, number, number, number, number, number, number];
  if (a === 0x64 && b === 0xff9b && c === 0 && d === 0 && e === 0 && f === 0) return dotted(high, low);
  if (a === 0x2001 && b === 0) return dotted(high ^ 0xffff, low ^ 0xffff);
  return a === 0x2002 ? dotted(b, c) : undefined;
}

function dotted(high: number, low: number): string {
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** `addressKey` with a memory. */
export type AddressKeys = (address: string) => string;

/** Remembered addresses. */
const ADDRESSES_LIMIT = 10_000;

/** Parsing an address takes longer than counting it, and most requests come from a few addresses. */
export function createAddressKeys(): AddressKeys {
  let known = new Map<string, string>();
  return (address) => {
    let key = known.get(address);
    if (key === undefined) {
      key = addressKey(address);
      if (known.size >= ADDRESSES_LIMIT) known = new Map();
      known.set(address, key);
    }
    return key;
  };
}
