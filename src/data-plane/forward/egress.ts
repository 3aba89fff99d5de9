/**
 * Decides where the gateway may connect: every outgoing connection is opened by a `dial` from here.
 * Invariant: the address that is dialed is the one that was checked, after the name was resolved, so a name that resolves
 * differently the second time gains nothing.
 */
import { type LookupAddress, lookup } from "node:dns";
import { Agent } from "node:http";
import { connect, isIP, type NetConnectOpts, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { Service } from "../../config/schema.ts";
import { forbiddenBecause } from "./address-ranges.ts";
import { Dialing, type Resolve } from "./dialing.ts";
import { addressesIn, isOwnListener, type OwnListeners, portOf } from "./own-address.ts";
import { shareLookups } from "./share-lookups.ts";
import { createTlsOpener, type Pem } from "./tls-opener.ts";

/** How the connections of one service are opened. */
export interface DialOptions {
  readonly service: Pick<Service, "connectTimeoutMs" | "tls">;
  /** The contents of the PEM files that `tls` names. */
  readonly pem: Pem;
  readonly isTlsStrict: boolean;
  /** A Unix socket that serves every origin: the embedded echo server. */
  readonly socketPath?: string | undefined;
  readonly egress: EgressPolicy;
}

export interface EgressPolicy {
  /** Loopback, private and other addresses that are not public may be dialed. */
  readonly allowsPrivate: boolean;
  /** The gateway's own listeners, which are never dialed. */
  readonly ownListeners: OwnListeners;
  /** The resolver; the system's when left out. */
  readonly resolve?: Resolve;
}

export type { Resolve } from "./dialing.ts";

export interface Dial {
  /** Opens one connection, TLS included. It throws nothing: the callback receives every outcome. */
  (target: DialTarget, callback: (error: Error | null, socket: Socket | null) => void): void;
  readonly resolve: ResolveAddresses;
}

/** Gives the addresses of a name, or undefined where they are not known. The callback may be called at once. */
export type ResolveAddresses = (hostname: string, callback: (addresses: readonly string[] | undefined) => void) => void;

export interface DialTarget {
  readonly hostname: string;
  /** With the port, as in a URL. */
  readonly host: string;
  readonly protocol: string;
  readonly port: string;
  /** Receives each socket while it is still connecting, so that the caller can see how far it gets. */
  readonly onSocket?: (socket: Socket) => void;
  /** Ends the attempt; without effect once there is a connection. */
  readonly signal?: AbortSignal;
}

export const EGRESS_NOT_ALLOWED = "EGRESS_NOT_ALLOWED";
export const CONNECT_TIMEOUT = "CONNECT_TIMEOUT";

class EgressError extends Error {
  readonly code = EGRESS_NOT_ALLOWED;
}

class ConnectTimeoutError extends Error {
  readonly code = CONNECT_TIMEOUT;
  override readonly message = "no connection in time";
}

/** The operating system probes a silent connection after this many ms, and so finds a half-open one. */
const TCP_PROBE_AFTER_MS = 60_000;

export function createDial({ service, pem, isTlsStrict, socketPath, egress }: DialOptions): Dial {
  const resolve = shareLookups(egress.resolve ?? lookup);
  const openTls = createTlsOpener({ pem, isTlsStrict, servername: service.tls.servername });

  const resolveAddresses: ResolveAddresses = (hostname, callback) => {
    if (socketPath !== undefined || isIP(hostname.replace(/^\[(.*)\]$/, "$1")) !== 0) return callback(undefined);
    resolve(hostname, { all: true }, (error, found) => {
      callback(error === null ? found.map(({ address }) => address) : undefined);
    });
  };

  const dial = (target: DialTarget, callback: (error: Error | null, socket: Socket | null) => void): void => {
    const port = portOf(target);
    const hostname = target.hostname.replace(/^\[(.*)\]$/, "$1");
    // An IP literal is not resolved.
    const reason = socketPath === undefined && isIP(hostname) !== 0 ? refusal(hostname, port, egress) : undefined;
    if (reason !== undefined) return void process.nextTick(callback, new EgressError(reason), null);
    const place = socketPath === undefined ? { host: hostname, port } : { path: socketPath };
    const isTls = target.protocol === "https:";
    new Dialing({
      open: (lookup) => {
        // Names with several addresses are dialed one by one, because node:net's own choice gives each address only 250 ms.
        // The declared options lack highWaterMark. A TLS record has at most 16 KiB.
        const highWaterMark = isTls ? 16_384 : 65_536;
        const options: NetConnectOpts = Object.assign({ lookup, autoSelectFamily: false, highWaterMark }, place);
        const socket = isTls ? openTls(options as ConnectionOptions, hostname) : connect(options);
        target.onSocket?.(socket);
        return socket.setNoDelay(true).setKeepAlive(true, TCP_PROBE_AFTER_MS);
      },
      resolve: checkedLookup(egress, resolve, port),
      readyEvent: isTls ? "secureConnect" : "connect",
      signal: target.signal,
      timeoutMs: service.connectTimeoutMs,
      createTimeout: () => new ConnectTimeoutError(),
      callback,
    });
  };
  return Object.assign(dial, { resolve: resolveAddresses });
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
function checkedLookup(egress: EgressPolicy, resolve: Resolve, port: number): Resolve {
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

function refusal(address: string, port: number, { allowsPrivate, ownListeners }: EgressPolicy): string | undefined {
  return isOwnListener(address, port, ownListeners)
    ? "the gateway's own listener"
    : forbiddenBecause(address, allowsPrivate);
}

/** For one request. @param origin `https://api.example.com` */
export function createDialAgent(dial: Dial, origin: string, also: Pick<DialTarget, "onSocket" | "signal"> = {}): Agent {
  const { protocol, hostname, host, port } = new URL(origin);
  const agent = new Agent();
  agent.createConnection = (_, onConnected) => {
    dial({ protocol, hostname, host, port, ...also }, (error, socket) => onConnected?.(error, socket as Socket));
    return undefined;
  };
  return agent;
}
