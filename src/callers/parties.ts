/**
 * Whose share of an upstream's connections a request uses: each caller is a party, and each address of anonymous callers.
 * Invariant: where only one caller may use a service there are no parties, and that caller has all of its connections.
 */
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { type AddressKeys, createAddressKeys } from "../limits/address-key.ts";
import { ANONYMOUS, type Caller, type Callers } from "./callers.ts";
import type { KeyIndex } from "./key-index.ts";

export interface Parties {
  /** @param access of the service. @returns an empty text where only one caller may use the service. */
  of(caller: Caller, address: string, access: Service["access"] | undefined): string;
}

export interface PartyParts {
  readonly config: Pick<Config, "proxyPlane">;
  readonly issuedKeys: Pick<KeyIndex, "counts">;
  readonly callers: Pick<Callers, "isProtected" | "acceptsTokens">;
  /** Every client has a loopback address. */
  readonly isLoopbackOnly: boolean;
}

/** All loopback addresses are one machine. */
const LOOPBACK = "loopback";

export function createParties({ config, issuedKeys, callers, isLoopbackOnly }: PartyParts): Parties {
  const ownKeys = config.proxyPlane.key === undefined ? 0 : 1;
  const anonymousParties = isLoopbackOnly ? 1 : Number.POSITIVE_INFINITY;
  const keyOf: AddressKeys = createAddressKeys();

  return {
    of(caller, address, access) {
      const isOpen = caller === ANONYMOUS && !callers.isProtected("proxy");
      const ofTokens = callers.acceptsTokens ? Number.POSITIVE_INFINITY : 0;
      const named = isOpen ? 0 : ownKeys + issuedKeys.counts.proxy + ofTokens;
      if (named + (isOpen || access === "public" || access === "signature" ? anonymousParties : 0) <= 1) return "";
      return caller === ANONYMOUS ? partyOf(keyOf(address)) : caller.id;
    },
  };
}

/** No id of a caller begins with `ip `. @param key of the address. */
function partyOf(key: string): string {
  return `ip ${key.startsWith("127.") || key === "0:0:0:0::/64" ? LOOPBACK : key}`;
}
