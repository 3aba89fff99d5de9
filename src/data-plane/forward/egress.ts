/**
 * Decides where the gateway may connect: every outgoing connection is opened by a `dial` from here.
 * Invariant: the address that is dialed is the one that was checked, after the name was resolved, so a name that resolves
 * differently the second time gains nothing.
 */
import { type LookupAddress, lookup } from "node:dns";
import { Agent } from "node:http";
import { connect, isIP, type NetConnectOpts, type Socket } from "node:net";
import { type ConnectionOptions, createSecureContext, type SecureContext, connect as tlsConnect } from "node:tls";
import ipaddr from "ipaddr.js";
import type { Service } from "../../config/schema.ts";
import { Dialing, type Resolve } from "./dialing.ts";
import { addressesIn, isOwnListener, type OwnListeners, portOf } from "./own-address.ts";

/** How the connections of one service are opened. */
export interface DialOptions {
  readonly service: Pick<Service, "connectTimeoutMs" | "tls">;
  /** The contents of the PEM files that `tls` names. */
  readonly pem: { readonly ca?: string; readonly cert?: string; readonly key?: string };
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

/** TLS sessions that one service remembers, so that a later connection needs no full handshake. */
const TLS_SESSIONS_LIMIT = 100;

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
        const socket = isTls ? openTls(options, hostname) : connect(options);
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

type OpenTls = (options: NetConnectOpts, hostname: string) => Socket;

function createTlsOpener({
  pem,
  isTlsStrict,
  servername,
}: Pick<DialOptions, "pem" | "isTlsStrict"> & { readonly servername: string | undefined }): OpenTls {
  const sessions = new Map<string, Buffer>();
  let secureContext: SecureContext | undefined;

  return (options, hostname) => {
    secureContext ??= createSecureContext({ ...pem });
    // RFC 6066 section 3: an address is no server name, and a name has no trailing dot.
    const name = servername ?? (isIP(hostname) === 0 ? hostname.replace(/\.$/, "") : undefined);
    const sessionKey = name ?? hostname;
    const session = sessions.get(sessionKey);
    const socket = tlsConnect({
      ...options,
      secureContext,
      rejectUnauthorized: isTlsStrict,
      ALPNProtocols: ["http/1.1"],
      ...(name === undefined ? {} : { servername: name }),
      ...(session === undefined ? {} : { session }),
    } as ConnectionOptions);
    socket.on("session", (received) => {
      sessions.delete(sessionKey);
      const [oldest] = sessions.size < TLS_SESSIONS_LIMIT ? [] : sessions.keys();
      if (oldest !== undefined) sessions.delete(oldest);
      sessions.set(sessionKey, received);
    });
    return socket;
  };
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

/**
 * The operating system resolves names on a few threads that the whole process shares, file access included, and a lookup cannot be
 * canceled. So there is one lookup for a name at a time, however many connections wait for it: a silent name server of one
 * service does not stop the others.
 */
function shareLookups(resolve: Resolve): Resolve {
  const pending = new Map<string, Parameters<Resolve>[2][]>();
  return (hostname, options, callback) => {
    const lookupKey = `${hostname} ${options.family ?? 0} ${options.hints ?? 0}`;
    const waiting = pending.get(lookupKey);
    if (waiting !== undefined) {
      waiting.push(callback);
      return;
    }
    const callbacks = [callback];
    pending.set(lookupKey, callbacks);
    try {
      resolve(hostname, options, (error, found) => {
        pending.delete(lookupKey);
        for (const each of callbacks) each(error, found);
      });
    } catch (error) {
      // No callback will come, so the next lookup must start again.
      pending.delete(lookupKey);
      throw error;
    }
  };
}

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
