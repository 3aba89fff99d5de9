/**
 * The addresses that a key may be used from.
 * Invariant: an address that cannot be parsed is in no list, and IPv4-mapped addresses are IPv4, in lists and in requests.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Problem } from "./path-pattern.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface AddressRange {
  has(address: Address): boolean;
  /** Whether every address of the other range is in this one. */
  covers(other: AddressRange): boolean;
  readonly base: Address;
  readonly bits: number;
}

const IPV4_MAPPED_BITS = 96;

/** One address or a CIDR. Bits after the prefix are ignored. */
export function parseAddressRange(text: string): AddressRange | Problem {
  const problem = {
    problem: `${text.length > 60 ? "the text" : JSON.stringify(text)} is neither an address nor a CIDR such as \`10.0.0.0/8\``,
  };
  const [, address, prefix] = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  if (address === undefined || !isAddress(address)) return problem;
  const written = ipaddr.parse(address);
  const width = written.kind() === "ipv4" ? 32 : 128;
  const bits = prefix === undefined ? width : Number(prefix);
  if (bits > width) return problem;
  const base = ipaddr.process(address);
  const isMapped = width === 128 && base.kind() === "ipv4";
  // A range wider than all mapped addresses is an IPv6 range.
  if (isMapped && bits < IPV4_MAPPED_BITS) return rangeOf(written, bits);
  return rangeOf(base, isMapped ? bits - IPV4_MAPPED_BITS : bits);
}

function rangeOf(base: Address, bits: number): AddressRange {
  const has = (address: Address) => address.kind() === base.kind() && address.match([base, bits] as [Address, number]);
  return { base, bits, has, covers: (other) => other.bits >= bits && has(other.base) };
}

/** @param texts an empty list allows every address; a text that cannot be parsed allows nothing. */
export function compileAddresses(texts: readonly string[]): (address: string) => boolean {
  if (texts.length === 0) return () => true;
  const ranges = texts.map(parseAddressRange).filter((range): range is AddressRange => "has" in range);
  return (text) => {
    if (!isAddress(text)) return false;
    const address = ipaddr.process(text);
    return ranges.some((range) => range.has(address));
  };
}

/** Whether `held` allows every address that `asked` allows; lists as in `compileAddresses`. */
export function coversAddresses(held: readonly string[], asked: readonly string[]): boolean {
  if (held.length === 0) return true;
  if (asked.length === 0) return false;
  const ranges = held.map(parseAddressRange).filter((range): range is AddressRange => "has" in range);
  return asked.every((text) => {
    const range = parseAddressRange(text);
    return !("has" in range) || ranges.some((each) => each.covers(range));
  });
}

/** ipaddr.js also accepts `10.1` and `0x0a.1`, and treats the deprecated form `::10.0.0.1` as a mapped address. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !/^::\d+\./.test(text);
}
