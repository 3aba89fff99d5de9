/**
 * Decides where the gateway may connect: every outgoing connection is opened by a `dial` from here.
 * Invariant: the address that is dialed is the one that was checked, after the name was resolved, so a name that resolves
 * differently the second time gains nothing.
 */
import { lookup } from "node:dns";
import { Agent } from "node:http";
import { connect, isIP, type NetConnectOpts, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { ProxyUse } from "../../config/egress-proxy.ts";
import type { Service } from "../../config/schema.ts";
import { Dialing, type DialTarget } from "./dialing.ts";
import { checkedLookup, EgressError, type EgressPolicy, refusal } from "./egress-policy.ts";
import { portOf } from "./own-address.ts";
import { createProxyDial } from "./proxy-dial.ts";
import { shareLookups } from "./share-lookups.ts";
import { createTlsOpener, type Pem } from "./tls-opener.ts";

/** How the connections of one service are opened. */
export interface DialOptions {
  readonly service: Pick<Service, "connectTimeoutMs" | "tls"> & Partial<Pick<Service, "http2">>;
  /** The contents of the PEM files that `tls` names. */
  readonly pem: Pem;
  readonly isTlsStrict: boolean;
  /** A Unix socket that serves every origin: the embedded echo server. */
  readonly socketPath?: string | undefined;
  readonly egress: EgressPolicy;
  /** Undefined if every upstream is connected to directly. */
  readonly proxyUse?: ProxyUse | undefined;
}

export interface Dial {
  /** Opens one connection, TLS included. It throws nothing: the callback receives every outcome. */
  (target: DialTarget, callback: (error: Error | null, socket: Socket | null) => void): void;
  readonly resolve: ResolveAddresses;
}

/** Gives the addresses of a name, or undefined where they are not known. The callback may be called at once. */
export type ResolveAddresses = (hostname: string, callback: (addresses: readonly string[] | undefined) => void) => void;

export const CONNECT_TIMEOUT = "CONNECT_TIMEOUT";

class ConnectTimeoutError extends Error {
  readonly code = CONNECT_TIMEOUT;
  override readonly message = "no connection in time";
}

/** The operating system probes a silent connection after this many ms, and so finds a half-open one. */
const TCP_PROBE_AFTER_MS = 60_000;

export function createDial({ service, pem, isTlsStrict, socketPath, egress, proxyUse }: DialOptions): Dial {
  const resolve = shareLookups(egress.resolve ?? lookup);
  const protocol = service.http2 ? "h2" : "http/1.1";
  const openTls = createTlsOpener({ pem, isTlsStrict, servername: service.tls.servername, protocol });
  const proxied =
    proxyUse &&
    createProxyDial(proxyUse, {
      egress,
      resolve,
      openTls,
      isHttp2: service.http2 === true,
      timeoutMs: service.connectTimeoutMs,
      createTimeout: () => new ConnectTimeoutError(),
      openTcp: (options) =>
        withProbes(connect(Object.assign({ autoSelectFamily: false, highWaterMark: 65_536 }, options))),
    });

  const resolveAddresses: ResolveAddresses = (hostname, callback) => {
    // A proxy chooses the address by itself.
    if (proxied?.isFor(hostname, undefined)) return callback(undefined);
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
    if (proxied?.isFor(hostname, port)) return proxied.dial({ ...target, hostname }, port, callback);
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
        return withProbes(socket);
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

function withProbes(socket: Socket): Socket {
  return socket.setNoDelay(true).setKeepAlive(true, TCP_PROBE_AFTER_MS);
}

/** For one request. @param origin `https://api.example.com` */
export function createDialAgent(
  dial: Dial,
  origin: string,
  also: Pick<DialTarget, "onSocket" | "onTunnel" | "signal"> = {},
): Agent {
  const { protocol, hostname, host, port } = new URL(origin);
  const agent = new Agent();
  agent.createConnection = (_, onConnected) => {
    dial({ protocol, hostname, host, port, ...also }, (error, socket) => onConnected?.(error, socket as Socket));
    return undefined;
  };
  return agent;
}
