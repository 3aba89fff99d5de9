/**
 * Where the gateway may connect: every connection to an upstream is made by a `dial` from here.
 * Invariant: the address that is dialled is the one that was checked, after the name was resolved; a name that resolves
 * differently the second time gains nothing by it.
 */
import { type LookupAddress, type LookupAllOptions, lookup } from "node:dns";
import { isIP, type LookupFunction, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";
import { buildConnector, errors } from "undici";
import { isLoopbackHost } from "../../config/hosts.ts";
import type { Service } from "../../config/schema.ts";
import { forbiddenBecause } from "./address-ranges.ts";
import { shareLookups } from "./share-lookups.ts";

/** How the connections of one service are made. */
export interface DialOptions {
  readonly service: Pick<Service, "connectTimeoutMs" | "tls">;
  /** PEM texts named by `tls`, read at start. */
  readonly pem: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly isTlsStrict: boolean;
  /** Unix socket that answers for every origin: the embedded echo server. */
  readonly socketPath?: string | undefined;
  readonly egress: EgressPolicy;
}

export interface EgressPolicy {
  /** Loopback, private and other addresses that are not public may be dialled. */
  readonly allowsPrivate: boolean;
  /** Where the gateway itself listens: never dialled. */
  readonly ownListeners: () => readonly { readonly address: string; readonly port: number }[];
  /** The resolver; the system's when left out. */
  readonly resolve?: Resolve;
}

export type Resolve = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void,
) => void;

/** Makes one connection, TLS included. @throws nothing: every outcome goes to the callback. */
export type Dial = (target: DialTarget, callback: buildConnector.Callback) => void;
export interface DialTarget
  extends Pick<buildConnector.Options, "hostname" | "host" | "protocol" | "port" | "servername"> {
  /** Shown the socket while it is still connecting: for whoever wants to know how far it got. */
  readonly onSocket?: (socket: Socket) => void;
}

export const EGRESS_NOT_ALLOWED = "EGRESS_NOT_ALLOWED";

class EgressError extends Error {
  readonly code = EGRESS_NOT_ALLOWED;
}

export function createDial({ service, pem, isTlsStrict, socketPath, egress }: DialOptions): Dial {
  const { servername } = service.tls;
  const connectors = new Map<number, buildConnector.connector>();
  const resolve = shareLookups(egress.resolve ?? lookup);

  /** By port, because a name is checked where it is resolved, and that place is told no port. */
  function connectorFor(port: number): buildConnector.connector {
    let connector = connectors.get(port);
    if (connector === undefined) {
      connector = buildConnector({
        // Ours instead: undici's counts in ticks of half a second.
        timeout: 0,
        rejectUnauthorized: isTlsStrict,
        ...pem,
        ...(servername === undefined ? {} : { servername }),
        ...(socketPath === undefined ? { lookup: checkedLookup(egress, resolve, port) } : { socketPath }),
      });
      connectors.set(port, connector);
    }
    return connector;
  }

  return (target, callback) => {
    const port = portOf(target);
    const hostname = target.hostname.replace(/^\[(.*)\]$/, "$1");
    // Literals are never looked up.
    const reason = socketPath === undefined && isIP(hostname) !== 0 ? refusal(hostname, port, egress) : undefined;
    if (reason !== undefined) return process.nextTick(callback, new EgressError(reason), null);
    const options = { ...target, hostname, port: String(port) } as buildConnector.Options;
    // The types do not tell that the socket is returned.
    const socket = connectorFor(port)(options, (...outcome) => {
      clearTimeout(timer);
      callback(...outcome);
    }) as unknown as Socket;
    target.onSocket?.(socket);
    const timer = setTimeout(() => socket.destroy(new errors.ConnectTimeoutError()), service.connectTimeoutMs);
    timer.unref();
  };
}

/** Why a URL will not be dialled, as far as that can be told without asking a resolver. */
export function forbiddenUrl(text: string, egress: EgressPolicy): string | undefined {
  const { hostname, port, protocol } = new URL(text);
  const host = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  const address = isIP(host) === 0 && isLoopbackHost(host) ? "127.0.0.1" : host;
  return isIP(address) === 0 ? undefined : refusal(address, portOf({ port, protocol }), egress);
}

const portOf = ({ port, protocol }: Pick<DialTarget, "port" | "protocol">) =>
  Number(port) || (protocol === "https:" ? 443 : 80);

/** Resolves a name and leaves of its addresses those that may be dialled; an error when none may. */
function checkedLookup(egress: EgressPolicy, resolve: Resolve, port: number): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, []);
      const allowed: LookupAddress[] = [];
      let reason = "it resolves to no address";
      for (const candidate of found) {
        const why = refusal(candidate.address, port, egress);
        if (why === undefined) allowed.push(candidate);
        else reason = why;
      }
      const [first] = allowed;
      if (first === undefined) callback(new EgressError(reason), []);
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function refusal(address: string, port: number, { allowsPrivate, ownListeners }: EgressPolicy): string | undefined {
  const leadsBack = ownListeners().some((own) => own.port === port && isSameMachine(address, own.address));
  return leadsBack ? "the gateway's own listener" : forbiddenBecause(address, allowsPrivate);
}

/** Whether a connection to `address` ends at a listener bound to `bound`. */
function isSameMachine(address: string, bound: string): boolean {
  const target = unmapped(address);
  const own = unmapped(bound);
  if (target === own || isUnspecified(target)) return true;
  if (!isUnspecified(own)) return false;
  if (target === "::1" || target.startsWith("127.")) return true;
  return Object.values(networkInterfaces()).some((entries) => entries?.some((entry) => entry.address === target));
}

const isUnspecified = (address: string) => address === "0.0.0.0" || address === "::";
/** One spelling for one address: `::ffff:7f00:1` is 127.0.0.1. */
const unmapped = (address: string) => (ipaddr.isValid(address) ? ipaddr.process(address).toString() : address);
