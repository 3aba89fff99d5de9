/**
 * Limits a cookie of an upstream to its service: all services share one host, the gateway's.
 * Invariant: a cookie that a browser would send to another service is not relayed.
 */
import type { Base } from "../prepared-service.ts";
import { type InsertedPath, withoutInserted } from "./inserted-path.ts";

/** Browsers accept these only with `Path=/`, which is the path of every service. Some servers read a nameless cookie's value as its name. */
const WHOLE_HOST = /^[\s=]*__host-/i;

/** Browsers ignore a longer attribute (RFC 6265bis section 5.6), and the default path that they use instead may be `/proxy`. */
const PATH_LIMIT = 1_024;

/** True for a cookie that cannot be limited to a service. */
export function isForWholeHost(setCookie: string): boolean {
  return WHOLE_HOST.test(setCookie);
}

/**
 * `Domain` is removed and `Path` moves under the service, as the browser sees it (RFC 6265 section 5.2); everything else stays as it is.
 * @param publicPath the path of PUBLIC_URL.
 */
export function scopeCookie(setCookie: string, base: Base, service: CookieService, publicPath: string): string {
  const [pair = "", ...attributes] = setCookie.split(";");
  let path = "";
  const kept = attributes.filter((attribute) => {
    const [name = "", ...value] = attribute.split("=");
    const lowerCaseName = name.trim().toLowerCase();
    if (lowerCaseName === "path") path = value.join("=").trim();
    return lowerCaseName !== "path" && lowerCaseName !== "domain";
  });
  const whole = `${publicPath}/proxy/${service.key}/`;
  const own = publicPath + gatewayPath(path, base, service);
  return [pair, ...kept, ` Path=${Buffer.byteLength(own) > PATH_LIMIT ? whole : own}`].join(";");
}

/** The service that a cookie belongs to. */
interface CookieService {
  readonly key: string;
  /** The inserted paths of its credential, which a client does not know. */
  readonly inserted: readonly InsertedPath[];
}

function gatewayPath(path: string, base: Base, { key, inserted }: CookieService): string {
  const isBelowBase = path === base.prefix || path.startsWith(`${base.prefix}/`);
  if (!path.startsWith("/") || !isBelowBase) return `/proxy/${key}/`;
  const below = path.slice(base.prefix.length);
  const rest = withoutInserted(below, inserted) ?? below;
  return base.gatewayPrefix + (rest === "" ? "/" : rest);
}
