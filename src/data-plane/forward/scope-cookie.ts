/** `Set-Cookie` of a service with `cookies: true`, kept to that service: all of them live on one host, the gateway's. */
import type { Base } from "../prepared-service.ts";

/** `Domain` goes and `Path` moves under the service (RFC 6265 section 5.2); everything else stays as it is. */
export function scopeCookie(setCookie: string, base: Base, serviceKey: string): string {
  const [pair = "", ...attributes] = setCookie.split(";");
  let path = "";
  const kept = attributes.filter((attribute) => {
    const [name = "", ...value] = attribute.split("=");
    const lowerCaseName = name.trim().toLowerCase();
    if (lowerCaseName === "path") path = value.join("=").trim();
    return lowerCaseName !== "path" && lowerCaseName !== "domain";
  });
  return [pair, ...kept, ` Path=${gatewayPath(path, base, serviceKey)}`].join(";");
}

function gatewayPath(path: string, base: Base, serviceKey: string): string {
  const isBelowBase = path === base.prefix || path.startsWith(`${base.prefix}/`);
  if (!path.startsWith("/") || !isBelowBase) return `/proxy/${serviceKey}/`;
  const rest = path.slice(base.prefix.length);
  return base.gatewayPrefix + (rest === "" ? "/" : rest);
}
