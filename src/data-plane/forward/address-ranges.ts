/**
 * Which addresses may be dialed. Invariant: an address is judged by what it leads to, in every spelling, translated or tunneled.
 */
import ipaddr from "ipaddr.js";

/**
 * Cloud metadata services, which give out the machine's credentials, outside the link-local range:
 * AWS over IPv6 and its EKS Pod Identity, Google over IPv6, Scaleway over IPv6, Alibaba, Oracle, Azure.
 */
const METADATA: ReadonlySet<string> = new Set([
  ...["fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42"],
  ...["100.100.100.200", "192.0.0.192", "168.63.129.16"],
]);

/**
 * Why an address must not be dialed; undefined where it may. Link-local and metadata addresses never may.
 * @param allowsPrivate everything else may, not only public unicast.
 */
export function forbiddenBecause(address: string, allowsPrivate: boolean): string | undefined {
  if (!ipaddr.isValid(address)) return "not an IP address";
  const parsed = ipaddr.process(address);
  const meanings = [parsed, ...embedded(parsed)];
  if (meanings.some((meaning) => METADATA.has(withoutZone(meaning)))) return "a cloud's metadata service";
  if (meanings.some((meaning) => meaning.range() === "linkLocal")) return "link-local";
  if (allowsPrivate) return undefined;
  // No upstream is reached by a translated or tunneled address.
  const range = meanings.map((meaning) => meaning.range()).find((each) => each !== "unicast");
  return range ?? (isUnassigned(parsed) ? "unassigned" : undefined);
}

/** Only 2000::/3 is routed globally (RFC 4291 section 2.4). */
function isUnassigned(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return address.kind() === "ipv6" && ((address as ipaddr.IPv6).parts[0] ?? 0) >> 13 !== 1;
}

/** The IPv4 addresses that an IPv6 address is translated or tunneled to. */
function embedded(address: ipaddr.IPv4 | ipaddr.IPv6): ipaddr.IPv4[] {
  if (address.kind() === "ipv4") return [];
  const { parts } = address as ipaddr.IPv6;
  const ipv4 = (high = 0, low = 0) => new ipaddr.IPv4([high >> 8, high & 255, low >> 8, low & 255]);
  // RFC 4291 section 2.5.5.1: deprecated, but some systems still connect to the address inside.
  if (parts.slice(0, 6).every((part) => part === 0)) return [ipv4(parts[6], parts[7])];
  // ISATAP, RFC 5214 section 6.1, within any prefix.
  if (((parts[4] ?? 0) & 0xfdff) === 0 && parts[5] === 0x5efe) return [ipv4(parts[6], parts[7])];
  switch (address.range()) {
    // RFC 6145 and RFC 6052 section 2.2, with a prefix of 96 bits.
    case "rfc6145":
    case "rfc6052":
      return [ipv4(parts[6], parts[7])];
    // RFC 3056 section 2.
    case "6to4":
      return [ipv4(parts[1], parts[2])];
    // RFC 4380 section 4: the server, and the client with inverted bits.
    case "teredo":
      return [ipv4(parts[2], parts[3]), ipv4((parts[6] ?? 0) ^ 0xffff, (parts[7] ?? 0) ^ 0xffff)];
    default:
      return [];
  }
}

/** Without `%eth0`. */
function withoutZone(address: ipaddr.IPv4 | ipaddr.IPv6): string {
  return address.toString().replace(/%.*$/, "");
}
