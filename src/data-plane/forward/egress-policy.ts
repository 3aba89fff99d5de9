/**
 * The rules for addresses of one service.
 * Invariant: a name is judged by the addresses that it resolves to, and only those that may be dialed are given to the dialing code.
 */
import type { LookupAddress } from "node:dns";
import { forbiddenBecause } from "./address-ranges.ts";
import type { Resolve } from "./dialing.ts";
import { addressesIn, isOwnListener, type OwnListeners, portOf } from "./own-address.ts";

export interface EgressPolicy {
  /** Loopback, private and other addresses that are not public may be dialed. */
  readonly allowsPrivate: boolean;
  /** The gateway's own listeners, which are never dialed. */
  readonly ownListeners: OwnListeners;
  /** The resolver; the system's when left out. */
  readonly resolve?: Resolve;
}

export const EGRESS_NOT_ALLOWED = "EGRESS_NOT_ALLOWED";

export class EgressError extends Error {
  readonly code = EGRESS_NOT_ALLOWED;
}

/** The address is that of the egress proxy. */
export class ProxyAddressError extends EgressError {}

/** For the address of an egress proxy: one that the operator names may be private. */
export function proxyRules({ isOperators }: { readonly isOperators: boolean }, egress: EgressPolicy): EgressPolicy {
  return isOperators ? { ...egress, allowsPrivate: true } : egress;
}

/** Why a URL will not be dialed, as far as the URL alone shows it. */
export function forbiddenUrl(text: string, egress: EgressPolicy): string | undefined {
  const url = new URL(text);
  for (const address of addressesIn(url)) {
    const reason = refusal(address, portOf(url), egress);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Resolves a name to those of its addresses that may be dialed; an error where none may. */
export function checkedLookup(egress: EgressPolicy, resolve: Resolve, port: number): Resolve {
  return (hostname, options, callback) => {
    resolve(hostname, options, (error, found) => {
      if (error !== null) return callback(error, []);
      const allowed: LookupAddress[] = [];
      let reason = "its name resolves to no address";
      for (const candidate of found) {
        const why = refusal(candidate.address, port, egress);
        if (why === undefined) allowed.push(candidate);
        else reason = why;
      }
      callback(allowed.length === 0 ? new EgressError(reason) : null, allowed);
    });
  };
}

export function refusal(
  address: string,
  port: number,
  { allowsPrivate, ownListeners }: EgressPolicy,
): string | undefined {
  return isOwnListener(address, port, ownListeners)
    ? "the gateway's own listener"
    : forbiddenBecause(address, allowsPrivate);
}
