/** Hostile paths from a seed: near the paths that a permission allows, encoded, cut and climbing in many ways. */
import { BASES } from "./path-oracle.ts";

/** The permissions of each key, for the services of the fuzz run. */
export const GRANTS: readonly (readonly string[])[] = [
  ["root:GET:/public/**"],
  ["root:read:/repos/*/issues", "base:POST:/repos/acme/**"],
  ["base:*:/exact", "raw:read:/bucket/*", "raw:PUT:/bucket/up/**"],
  ["*:GET:/**/readme", "versioned:GET:/users/*"],
  ["versioned:write:/users/*/keys/**", "raw:GET:/a*b/**"],
  ["raw:read", "base:write"],
];

export interface SentPath {
  readonly grant: readonly string[];
  readonly method: string;
  readonly target: string;
}

export type Random = (below: number) => number;

export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const SLASHES = ["/", "//", "%2f", "%2F", "\\", "%5c", "%5C", "%252f", "%255c", "/./", "/%2e/", "/x/../", "/x/%2e%2e/"];
const MORE_SLASHES = [
  "/x/..%2f",
  "/x/..;/",
  ";a/",
  ";/",
  "%3b/",
  "%EF%BC%8F",
  "%c0%af",
  "/.;/",
  "/x%2f../",
  "/..%5c",
  "/;/",
];
const PIECES = [
  "..",
  ".",
  "%2e%2e",
  "%2E.",
  ".%2e",
  "%252e%252e",
  "..;",
  "..;x=1",
  "%c0%ae%c0%ae",
  "%E2%80%A5",
  "..%00",
  "...",
  ".. ",
];
const MORE_PIECES = [
  "%",
  "%zz",
  "%25",
  "%2",
  ";",
  ";x=1",
  "?",
  "#",
  "%3f",
  "%23",
  "%00",
  "%20",
  "%0a",
  "%ff",
  "\xff",
  "\xe9",
  "*",
  "**",
];
const WORDS = [
  "public",
  "admin",
  "repos",
  "acme",
  "issues",
  "exact",
  "bucket",
  "up",
  "readme",
  "users",
  "keys",
  "a",
  "b",
  "axb",
  "v1",
  "v2",
];
const QUERIES = [
  "?",
  "?a=1",
  "?/../../admin",
  "?x=/admin",
  "??",
  "?%2e%2e/",
  "?api_key=x",
  "?a#b",
  "?a;b",
  "?%3fapi_key=1",
  "?\\..\\admin",
];
const METHODS = ["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"];

export function makeCase(random: Random, port: number): SentPath {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const grant = pick(GRANTS);
  // Most often near the key's own permission: other paths are nearly always refused early.
  const [service = "", action = "", pattern = "/**"] = pick(random(5) === 0 ? GRANTS.flat() : grant).split(":");
  const key = service === "*" ? pick(Object.keys(BASES)) : service;
  let path = pathWithin(pattern, pick, random);
  if (key === "versioned" && random(2) === 0) path = `/${pick(["v1", "v2", "v3", "V1", "%761"])}${path}`;
  for (let changes = random(5); changes > 0; changes--) path = changed(path, pick, random);
  if (random(6) === 0) path += pick(QUERIES);
  const methods: Record<string, string> = { read: "GET", write: "POST", "*": "GET" };
  const method = random(6) === 0 ? pick(METHODS) : (methods[action] ?? action);
  const target = `/proxy/${random(25) === 0 ? pick([`${key}/`, `.${key}`, `%7${key}`, `x/../${key}`, `/${key}`, "nothing"]) : key}${path}`;
  return { grant, method, target: oddly(target, random(40), port) };
}

function oddly(target: string, kind: number, port: number): string {
  if (kind === 0) return `http://localhost:${port}${target}`;
  if (kind === 1) return `${target}#/../admin`;
  if (kind === 2) return `/x/..${target}`;
  if (kind === 3) return `//${target}`;
  if (kind === 4) return `http://evil.example${target}`;
  return target;
}

function pathWithin(pattern: string, pick: <T>(list: readonly T[]) => T, random: Random): string {
  const segments = pattern
    .split("/")
    .slice(1)
    .flatMap((segment) => {
      if (segment === "**") return Array.from({ length: random(4) }, () => pick(WORDS));
      return [segment.replaceAll("*", () => pick(WORDS))];
    });
  return segments.length === 0 ? "" : `/${segments.join("/")}`;
}

function changed(path: string, pick: <T>(list: readonly T[]) => T, random: Random): string {
  const at = random(path.length + 1);
  const cut = (text: string, length = 0) => path.slice(0, at) + text + path.slice(at + length);
  switch (random(9)) {
    case 0:
      return cut(pick([...PIECES, ...MORE_PIECES]));
    case 1:
      return cut(pick([...SLASHES, ...MORE_SLASHES]));
    case 2:
      return path.replace(/\/(?=[^/]*$)/, () => pick([...SLASHES, ...MORE_SLASHES]));
    case 3:
      return cut(encoded(path[at] ?? "/", random(4)), 1);
    case 4:
      return cut(`${pick(SLASHES)}${pick(PIECES)}${pick(SLASHES)}${pick(WORDS)}`);
    case 5:
      return `${path}${pick([...SLASHES, ...MORE_SLASHES])}${pick([...PIECES, ...WORDS])}`;
    case 6:
      return cut((path[at] ?? "").toUpperCase(), 1);
    case 7:
      return path.replaceAll(/[./]/g, (character) => (random(3) === 0 ? encoded(character, random(4)) : character));
    default:
      return `${path}/${pick(WORDS)}`;
  }
}

function encoded(character: string, kind: number): string {
  const hex = character.charCodeAt(0).toString(16).padStart(2, "0");
  return [`%${hex}`, `%${hex.toUpperCase()}`, `%25${hex}`, `%2525${hex}`][kind] as string;
}
