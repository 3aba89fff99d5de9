/** Decides whether a permission allows a path that reached an upstream: slowly, and independently of the gateway's code. */
import { posix, win32 } from "node:path";
import type { SentPath } from "./hostile-paths.ts";

/** The bases of each service, as the upstream sees them. */
export const BASES: Readonly<Record<string, readonly string[]>> = {
  root: [""],
  base: ["/base"],
  versioned: ["/zero", "/one", "/two/deep"],
  raw: ["/raw/area"],
};
export interface ReachedPath {
  readonly method: string;
  readonly target: string;
}

/** Steps of servers and libraries; each may be applied at any time and any number of times. */
const READERS: readonly ((text: string) => string)[] = [
  decodeBytes,
  (text) => text.replaceAll("\\", "/"),
  (text) => text.replace(/\/+/g, "/"),
  (text) => posix.normalize(text),
  // Two slashes at the start begin a host name.
  (text) => win32.normalize(text.replace(/^[/\\]+/, "/")).replaceAll("\\", "/"),
  (text) =>
    text
      .split("/")
      .map((segment) => segment.split(";", 1)[0])
      .join("/"),
  (text) => text.split(/[?#]/, 1)[0] as string,
  (text) => (isAscii(text) && URL.canParse(text, "http://host") ? new URL(text, "http://host").pathname : text),
  (text) => Buffer.from(Buffer.from(text, "latin1").toString("utf8").normalize("NFKC"), "utf8").toString("latin1"),
  // Overlong forms of `.`, `/` and `\`.
  (text) =>
    text.replace(/\xc0([\x80-\xbf])/g, (_, low: string) => String.fromCharCode(low.charCodeAt(0) & 0x7f & ~0x40)),
];
const READINGS_LIMIT = 3_000;

function decodeBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Undefined for a request that was allowed to reach an upstream. */
export function problemOf({ grant, method }: SentPath, seen: ReachedPath): string | undefined {
  if (seen.method !== method) return "another method";
  const path = seen.target.split("?", 1)[0] as string;
  const place = Object.entries(BASES)
    .flatMap(([service, bases]) => bases.map((base) => ({ service, base })))
    .filter(({ base }) => path === base || path.startsWith(`${base}/`))
    .sort((one, other) => other.base.length - one.base.length)
    .find(({ service }) =>
      grant.some((permission) => permission.startsWith(`${service}:`) || permission.startsWith("*:")),
    );
  if (place === undefined) return "below no base that the key is for";
  const patterns = grant
    .map((permission) => permission.split(":"))
    .filter(([service, action]) => {
      return (service === "*" || service === place.service) && isOf(action as string, method);
    });
  if (patterns.length === 0) return "not for this method there";
  if (patterns.some(([, , pattern]) => pattern === undefined)) {
    return isBelow(posix.normalize(decodeBytes(path)), place.base) ? undefined : "out of the base";
  }
  for (const reading of readingsOf(path)) {
    if (!isBelow(reading, place.base)) return `out of the base when read as ${reading}`;
    const behind = reading.slice(place.base.length).split("/").slice(1);
    const segments = behind.length === 0 ? [""] : behind;
    if (!patterns.some(([, , pattern]) => slowlyMatches((pattern as string).split("/").slice(1), segments))) {
      return `outside the pattern when read as ${reading}`;
    }
  }
  return undefined;
}

/** Decoded until nothing changes, as every server that protects a path does. */
function readingsOf(path: string): ReadonlySet<string> {
  const found = new Set([path]);
  for (const text of found) {
    for (const read of READERS) found.add(read(text));
    if (found.size > READINGS_LIMIT) throw new Error(`too many readings of ${path}`);
  }
  return new Set([...found].filter((text) => decodeBytes(text) === text));
}

function isOf(action: string, method: string): boolean {
  const isRead = ["GET", "HEAD", "OPTIONS"].includes(method);
  return action === "*" || action === method || action === (isRead ? "read" : "write");
}

/** `URL` would encode each byte of any other text again and again. */
const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text);
const isBelow = (path: string, base: string) => path === base || path.startsWith(`${base}/`);

function slowlyMatches(pattern: readonly string[], path: readonly string[]): boolean {
  const [token, ...rest] = pattern;
  if (token === undefined) return path.length === 0;
  if (token === "**") return path.some((_, at) => slowlyMatches(rest, path.slice(at))) || slowlyMatches(rest, []);
  const [segment, ...others] = path;
  if (segment === undefined || (token === "*" && segment === "")) return false;
  const expression = new RegExp(`^${token.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^]*")}$`);
  return expression.test(segment) && slowlyMatches(rest, others);
}
