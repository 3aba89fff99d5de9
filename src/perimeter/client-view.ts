/**
 * What the gateway knows about a client: its address, and the public URL that it used.
 * Invariant: `X-Forwarded-*` is read only from peers in TRUST_PROXY.
 */
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import proxyAddr from "proxy-addr";
import type { ServiceAddress } from "../config/service-addresses.ts";
import type { Settings } from "../config/settings.ts";
import { createHostList } from "./open-plane.ts";
import { schemeOf } from "./wire.ts";

export interface ClientView {
  /** Whether a peer with this address is in TRUST_PROXY. */
  isTrustedPeer(address: string): boolean;
  addressOf(req: IncomingMessage): string;
  /**
   * `http://gateway:3420` without a trailing slash; empty when the Host is not trusted. At a service's own host or port it is what the
   * client used, without PUBLIC_URL and X-Forwarded-Host.
   */
  publicBaseOf(req: IncomingMessage, address?: ServiceAddress): string;
  /** The path of PUBLIC_URL, under which a browser sees the gateway; empty for none. */
  readonly publicPath: string;
  /** Names under which the client may know the gateway, as in a Host header, and whether they are trusted or not. */
  hostsOf(req: IncomingMessage): string[];
  /** A correct `X-Forwarded-*` and `Forwarded` (RFC 7239) set, as a flat list. */
  forwardedHeaders(req: IncomingMessage): string[];
}

export function createClientView(
  settings: Pick<Settings, "TRUST_PROXY" | "PUBLIC_URL" | "ALLOWED_HOSTS">,
  isProxyPlaneProtected: () => boolean,
): ClientView {
  const { TRUST_PROXY, PUBLIC_URL, ALLOWED_HOSTS } = settings;
  const trusts = TRUST_PROXY === undefined ? undefined : proxyAddr.compile(TRUST_PROXY);
  // On an open plane the guard has checked the Host; with a key every well-formed Host is accepted unless names are listed.
  const hosts = createHostList(ALLOWED_HOSTS);
  const isTrustedHost = (host: string) => (ALLOWED_HOSTS === undefined && isProxyPlaneProtected()) || hosts.has(host);

  const peerOf = (req: IncomingMessage) => withoutMapping(req.socket.remoteAddress ?? "");
  const addressOf =
    trusts === undefined ? peerOf : (req: IncomingMessage) => plainAddress(proxyAddr(req, trusts)) ?? peerOf(req);
  const fromTrusted = (req: IncomingMessage, name: string) => {
    if (trusts === undefined || !trusts(peerOf(req), 0)) return undefined;
    const value = req.headers[name];
    return typeof value === "string" ? value.split(",", 1)[0]?.trim() : undefined;
  };
  const protocolOf = (req: IncomingMessage) => {
    const forwarded = fromTrusted(req, "x-forwarded-proto")?.toLowerCase();
    if (forwarded === undefined) return schemeOf(req.socket);
    return forwarded === "https" ? "https" : "http";
  };
  const hostOf = (req: IncomingMessage) => {
    const forwarded = fromTrusted(req, "x-forwarded-host");
    const host = forwarded !== undefined && /^[A-Za-z0-9.-]+(?::\d+)?$/.test(forwarded) ? forwarded : req.headers.host;
    // HTTP/1.0 needs no Host, and HTTP/1.1 allows an empty one.
    return host === "" ? undefined : host;
  };

  return {
    isTrustedPeer: (address) => trusts?.(withoutMapping(address), 0) ?? false,
    addressOf,
    publicBaseOf(req, address) {
      if (address !== undefined) {
        const { host = "" } = req.headers;
        return host !== "" && (address.by === "host" || isTrustedHost(host)) ? `${protocolOf(req)}://${host}` : "";
      }
      if (PUBLIC_URL !== undefined) return PUBLIC_URL;
      const host = hostOf(req);
      return host !== undefined && isTrustedHost(host) ? `${protocolOf(req)}://${host}` : "";
    },
    publicPath: PUBLIC_URL === undefined ? "" : new URL(PUBLIC_URL).pathname.replace(/\/$/, ""),
    hostsOf(req) {
      const { host, "x-forwarded-host": forwarded } = req.headers;
      const hosts = [host, ...String(forwarded ?? "").split(",")].map((name) => name?.trim() ?? "");
      if (PUBLIC_URL !== undefined) hosts.push(new URL(PUBLIC_URL).host);
      return hosts.filter((name) => name !== "");
    },
    forwardedHeaders(req) {
      const address = addressOf(req);
      const protocol = protocolOf(req);
      const host = hostOf(req);
      const node = address.includes(":") ? `"[${address}]"` : address || "unknown";
      const headers = address === "" ? [] : ["X-Forwarded-For", address];
      headers.push("X-Forwarded-Proto", protocol);
      if (host !== undefined) headers.push("X-Forwarded-Host", host);
      // A socket that was closed has no address any more: RFC 7239 section 6.2.
      headers.push("Forwarded", `for=${node};${host === undefined ? "" : `host="${host}";`}proto=${protocol}`);
      return headers;
    },
  };
}

/** A socket that listens on :: reports IPv4 peers in their mapped form. */
function withoutMapping(address: string): string {
  if (address.charCodeAt(0) !== 58 /* : */) return address;
  return /^::ffff:\d/i.test(address) ? address.slice("::ffff:".length) : address;
}

/**
 * The address in an X-Forwarded-For entry, which some load balancers write with the client's port. Undefined for text that
 * is not an address, so that it is neither counted as a client nor written into `Forwarded`.
 */
function plainAddress(entry: string | undefined): string | undefined {
  const match = /^"?(?:\[([^\]]*)\](?::\d+)?|([\d.]+):\d+)"?$/.exec(entry ?? "");
  const address = withoutMapping(match?.[1] ?? match?.[2] ?? entry ?? "");
  return isIP(address) === 0 ? undefined : address;
}
