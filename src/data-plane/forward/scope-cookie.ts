/**
 * Limits a cookie of an upstream to its service: all services share one host, the gateway's, unless a service has a host of its own.
 * Invariant: a cookie that a browser would send to another service is not relayed.
 */
import { isOfBrowser } from "../../perimeter/browser-request.ts";
import type { Exchange } from "../exchange.ts";
import type { Base } from "../prepared-service.ts";
import { type InsertedPath, withoutInserted } from "./inserted-path.ts";

/** Browsers accept these only with `Path=/`, which is the path of every service. Some servers read a nameless cookie's value as its name. */
const WHOLE_HOST = /^[\s=]*__host-/i;

/** Browsers ignore a longer attribute (RFC 6265bis section 5.6), and the default path that they use instead may be `/proxy`. */
const PATH_LIMIT = 1_024;

/**
 * True where a browser would send a cookie to another service, whatever its path: browsers ignore ports, so services that differ only in
 * their port have one jar.
 */
export function hasSharedJar({ address, req }: Pick<Exchange, "address" | "req">): boolean {
  return address?.sharesCookies === true && isOfBrowser(req.headers);
}

/** True for a cookie that cannot be limited to a service. */
export function isForWholeHost(setCookie: string): boolean {
  return WHOLE_HOST.test(setCookie);
}

/**
 * `Domain` is removed and `Path` moves under the service, as the browser sees it (RFC 6265 section 5.2); everything else stays as it is.
 * @param root the path of the service at the gateway, as the browser sees it; empty at the service's own host or port.
 * @param inserted the inserted paths of the service's credential, which a client does not know.
 */
export function scopeCookie(setCookie: string, base: Base, root: string, inserted: readonly InsertedPath[]): string {
  const [pair = "", ...attributes] = setCookie.split(";");
  let path = "";
  const kept = attributes.filter((attribute) => {
    const [name = "", ...value] = attribute.split("=");
    const lowerCaseName = name.trim().toLowerCase();
    if (lowerCaseName === "path") path = value.join("=").trim();
    return lowerCaseName !== "path" && lowerCaseName !== "domain";
  });
  const own = root + pathBelowRoot(path, base, inserted);
  return [pair, ...kept, ` Path=${Buffer.byteLength(own) > PATH_LIMIT ? `${root}/` : own}`].join(";");
}

function pathBelowRoot(path: string, base: Base, inserted: readonly InsertedPath[]): string {
  const isBelowBase = path === base.prefix || path.startsWith(`${base.prefix}/`);
  if (!path.startsWith("/") || !isBelowBase) return "/";
  const below = path.slice(base.prefix.length);
  const rest = withoutInserted(below, inserted) ?? below;
  return base.versionPath + (rest === "" ? "/" : rest);
}
