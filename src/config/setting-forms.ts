/** Forms of values that several variables share. */
import { isIP } from "node:net";

/**
 * In the form that a browser sends: `null` for sandboxed pages and files. URL has no origin for unknown schemes. A `*` within an
 * origin would match nothing, because origins are compared as a whole.
 */
export const isOrigin = (value: string) =>
  value === "null" ||
  (!value.includes("*") && URL.canParse(value) && new URL(value).origin === value) ||
  /^(?!https?:)[a-z][a-z0-9+.-]*:\/\/[^/?#@\s*]+$/.test(value);

export const isBaseUrl = (value: string) =>
  URL.canParse(value) && /^https?:$/.test(new URL(value).protocol) && !/[?#@]/.test(value);

export const isHost = (value: string) => isIP(value) !== 0 || /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i.test(value);

/** As strict as proxy-addr, which would otherwise throw when the gateway is built. */
export function isAddressOrCidr(value: string): boolean {
  if (/^(loopback|linklocal|uniquelocal)$/.test(value)) return true;
  const [address = "", bits = "1", ...rest] = value.split("/");
  const most = isIP(address) === 4 ? 32 : 128;
  return isIP(address) !== 0 && rest.length === 0 && /^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= most;
}
