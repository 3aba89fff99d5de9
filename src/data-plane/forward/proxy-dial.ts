/**
 * Decides which connections of a service use its egress proxy, and prepares them.
 * Invariant: the address of the proxy is checked when it is connected to; and the addresses of a service that was added over REST are
 * checked here too, so that the proxy gets a checked address instead of a name.
 */
import { isIP, type LookupFunction, type Socket } from "node:net";
import type { ProxyUse } from "../../config/egress-proxy.ts";
import { createNoProxy } from "../../config/no-proxy.ts";
import { Dialing, type DialTarget, type Resolve } from "./dialing.ts";
import {
  checkedLookup,
  EgressError,
  type EgressPolicy,
  ProxyAddressError,
  proxyRules,
  refusal,
} from "./egress-policy.ts";
import { ProxyDialing, type ProxyDialingParts, type SocketCallback } from "./proxy-dialing.ts";
import { ProxyTimeoutError } from "./proxy-error.ts";
import { createTlsOpener, type OpenTls } from "./tls-opener.ts";

/** A TLS record has at most 16 KiB. The declared options lack it. */
const RECORD = { highWaterMark: 16_384 };

export interface ProxyDialContext {
  /** Of the service. */
  readonly egress: EgressPolicy;
  readonly resolve: Resolve;
  readonly openTls: OpenTls;
  readonly openTcp: (options: {
    readonly host: string;
    readonly port: number;
    readonly lookup: LookupFunction;
  }) => Socket;
  readonly isHttp2: boolean;
  readonly timeoutMs: number;
  readonly createTimeout: () => Error;
}

export interface ProxyDial {
  /** @param port undefined for any. */
  isFor(hostname: string, port: number | undefined): boolean;
  /** @param target with its hostname without brackets. */
  dial(target: DialTarget, port: number, callback: SocketCallback): void;
}

export function createProxyDial(use: ProxyUse, context: ProxyDialContext): ProxyDial {
  const { proxy, noProxy, resolvesHere } = use;
  const { egress, resolve, openTls, isHttp2, timeoutMs, createTimeout } = context;
  const isDirect = noProxy === undefined ? () => false : createNoProxy(noProxy);
  const connect = createProxyConnect(use, context);
  const openProxyTls = createTlsOpener({
    pem: {},
    isTlsStrict: use.isTlsStrict,
    servername: undefined,
    protocol: "http/1.1",
  });

  const namesOf = (hostname: string, port: number): ProxyDialingParts["findNames"] => {
    // A literal was checked already.
    if (!resolvesHere || isIP(hostname) !== 0) return (callback) => callback(null, [hostname]);
    return (callback) =>
      checkedLookup(egress, resolve, port)(hostname, { all: true }, (error, found) =>
        callback(
          error,
          found.map(({ address }) => address),
        ),
      );
  };

  return {
    isFor: (hostname, port) => !isDirect(hostname, port),
    dial(target, port, callback) {
      const { hostname, protocol, onSocket, onTunnel, signal } = target;
      const secureUpstream = (socket: Socket) => {
        const secured = openTls(Object.assign({ socket, host: hostname }, RECORD), hostname);
        onSocket?.(secured);
        return secured;
      };
      new ProxyDialing({
        proxy,
        findNames: namesOf(hostname, port),
        port,
        connect: (ending, done) => connect(onSocket, ending, done),
        secureProxy: proxy.isTls
          ? (socket) => openProxyTls({ socket, host: proxy.hostname }, proxy.hostname)
          : undefined,
        secureUpstream: protocol === "https:" ? secureUpstream : undefined,
        upstreamMaySpeakFirst: isHttp2 && protocol === "http:",
        onTunnel,
        signal,
        timeoutMs,
        createTimeout,
        callback,
      });
    },
  };
}

type ProxyConnect = (onSocket: DialTarget["onSocket"], signal: AbortSignal, callback: SocketCallback) => void;

function createProxyConnect(use: ProxyUse, { egress, resolve, openTcp, timeoutMs }: ProxyDialContext): ProxyConnect {
  const { proxy } = use;
  const { hostname, port } = proxy;
  const rules = proxyRules(use, egress);
  const explain = (error: Error | null) =>
    error instanceof EgressError ? new ProxyAddressError(`the address of its egress proxy is ${error.message}`) : error;
  return (onSocket, signal, callback) => {
    const reason = isIP(hostname) === 0 ? undefined : refusal(hostname, port, rules);
    if (reason !== undefined) return void process.nextTick(callback, explain(new EgressError(reason)), null);
    new Dialing({
      open: (lookup) => {
        const socket = openTcp({ host: hostname, port, lookup });
        onSocket?.(socket);
        return socket;
      },
      resolve: checkedLookup(rules, resolve, port),
      readyEvent: "connect",
      signal,
      timeoutMs,
      createTimeout: () => new ProxyTimeoutError(proxy),
      callback: (error, socket) => callback(explain(error), socket),
    });
  };
}
