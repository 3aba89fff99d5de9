/** The key that an address is counted under: by limits, by the lock-out and by the cap on connections. */
import ipaddr from "ipaddr.js";

/** One key for each client: IPv4-mapped addresses are IPv4, and an IPv6 client owns its whole /64. */
export function addressKey(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4") return parsed.toString();
  return `${(parsed as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
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
