/**
 * The addresses that a key may be used from. Invariant: an address that cannot be read is in no list, and IPv4-mapped addresses are
 * IPv4, in the list as well as in what is asked.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Problem } from "./path-pattern.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface AddressRange {
  has(address: Address): boolean;
  /** Whether every address of the other one is in this one. */
  covers(other: AddressRange): boolean;
  readonly base: Address;
  readonly bits: number;
}

const IPV4_MAPPED_BITS = 96;

/** One address, or a CIDR. Bits behind the prefix do not count. */
export function parseAddressRange(text: string): AddressRange | Problem {
  const problem = {
    problem: `${text.length > 60 ? "the text" : JSON.stringify(text)} is no address and no CIDR such as \`10.0.0.0/8\``,
  };
  const [, address, prefix] = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  if (address === undefined || !isAddress(address)) return problem;
  const written = ipaddr.parse(address);
  const width = written.kind() === "ipv4" ? 32 : 128;
  const bits = prefix === undefined ? width : Number(prefix);
  if (bits > width) return problem;
  const base = ipaddr.process(address);
  const isMapped = width === 128 && base.kind() === "ipv4";
  // A range that is wider than all mapped addresses is one of IPv6.
  if (isMapped && bits < IPV4_MAPPED_BITS) return rangeOf(written, bits);
  return rangeOf(base, isMapped ? bits - IPV4_MAPPED_BITS : bits);
}

function rangeOf(base: Address, bits: number): AddressRange {
  const has = (address: Address) => address.kind() === base.kind() && address.match([base, bits] as [Address, number]);
  return { base, bits, has, covers: (other) => other.bits >= bits && has(other.base) };
}

/** @param texts none of them: every address is allowed. One that cannot be understood allows nothing. */
export function compileAddresses(texts: readonly string[]): (address: string) => boolean {
  if (texts.length === 0) return () => true;
  const ranges = texts.map(parseAddressRange).filter((range): range is AddressRange => "has" in range);
  return (text) => {
    if (!isAddress(text)) return false;
    const address = ipaddr.process(text);
    return ranges.some((range) => range.has(address));
  };
}

/** Whether all that `asked` lets in is let in by `held`; lists as in `compileAddresses`. */
export function coversAddresses(held: readonly string[], asked: readonly string[]): boolean {
  if (held.length === 0) return true;
  if (asked.length === 0) return false;
  const ranges = held.map(parseAddressRange).filter((range): range is AddressRange => "has" in range);
  return asked.every((text) => {
    const range = parseAddressRange(text);
    return !("has" in range) || ranges.some((each) => each.covers(range));
  });
}

/** ipaddr.js takes `10.1` and `0x0a.1` for addresses too, and `::10.0.0.1`, a form that is out of use, for a mapped one. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !/^::\d+\./.test(text);
}
