/**
 * The permissions of a key: `<service|*>:<action>[:<path pattern>]`.
 * Invariant: where a pattern decides, a request is allowed only if every reading of its path is, each by some permission; and a
 * permission that cannot be parsed allows nothing.
 *
 * Without a pattern a permission covers any path, also those that no pattern can match. A method is that method alone: `GET` does
 * not include `HEAD`, `read` includes both. A WebSocket is a method of its own, `WEBSOCKET`, which `write` includes: both sides of it send. `*` as a service is every service, future ones included, and never `manage`.
 * `manage:read` opens every GET under `/manage`; `manage:services` opens reading and changing services, with their tests, limits,
 * caches and the reload; `manage:keys` opens reading and changing keys; `manage:*` opens everything. Two permissions therefore
 * open a GET of services or of keys.
 */
import { METHODS } from "node:http";
import { RESERVED_SERVICE_KEYS } from "../config/schema.ts";
import type { JudgedPath } from "./judged-path.ts";
import { type PathPattern, type Problem, parsePathPattern, type Work } from "./path-pattern.ts";

export type ManagePart = "read" | "services" | "keys";

export interface ProxyPermission {
  readonly plane: "proxy";
  /** `*` is every service. */
  readonly service: string;
  /** `read`, `write`, `*` or a method. */
  readonly action: string;
  /** Undefined is any path. */
  readonly pattern: PathPattern | undefined;
}

export interface ManagePermission {
  readonly plane: "manage";
  readonly part: ManagePart | "*";
}

export type Permission = ProxyPermission | ManagePermission;

/** Compiled once and used for each request. */
export interface Permissions {
  allowsProxy(service: string, method: string, path: JudgedPath): boolean;
  /** Every method and every path: nothing that a request contains can ask for more. */
  allowsAll(service: string): boolean;
  /** Whether it allows any request of the service. */
  allowsService(service: string): boolean;
  /** `*` is every part, and what no part opens alone. */
  allowsManage(part: ManagePart | "*"): boolean;
  readonly hasProxy: boolean;
  readonly hasManage: boolean;
  readonly texts: readonly string[];
  /** The permissions that could be parsed. */
  readonly granted: readonly Permission[];
}

/** Characters of one permission. */
const LENGTH_LIMIT = 200;
/** Characters of a text that an error message shows. */
const SHOWN_LIMIT = 80;

const FORM = "`<service|*>:<action>[:<path pattern>]`, such as `github:read` or `github:GET:/repos/acme/**`";
const MANAGE_PARTS: readonly string[] = ["read", "services", "keys", "*"];
const SERVICE_KEY = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Only `manage` has a meaning in a permission. */
const NO_SERVICE: ReadonlySet<string> = new Set(RESERVED_SERVICE_KEYS);
const READ_METHODS: readonly string[] = ["GET", "HEAD", "OPTIONS"];
/** The gateway refuses CONNECT and TRACE. */
const KNOWN_METHODS: ReadonlySet<string> = new Set([
  ...METHODS.filter((name) => name !== "CONNECT" && name !== "TRACE"),
  "WEBSOCKET",
]);
/** Segments compared to decide whether a key may grant permissions: some milliseconds. */
const GRANT_WORK_LIMIT = 100_000;

export function parsePermission(text: string): Permission | Problem {
  if (text.length > LENGTH_LIMIT) {
    return { problem: `a permission has at most ${LENGTH_LIMIT} characters, this one has ${text.length}` };
  }
  const [, service, action, path] = /^([^:]*):([^:]*)(?::(.*))?$/s.exec(text) ?? [];
  if (service === undefined || action === undefined) return { problem: `${shown(text)} is not of the form ${FORM}` };
  if (service === "manage") return parseManage(text, action, path);
  if (service !== "*" && (!SERVICE_KEY.test(service) || NO_SERVICE.has(service))) {
    return {
      problem: `${shown(service)} is not the key of a service; allowed are a key such as \`github\`, \`*\` and \`manage\``,
    };
  }
  if (!isAction(action)) {
    return {
      problem: `${shown(action)} is not an action; allowed are \`read\`, \`write\`, \`*\`, \`WEBSOCKET\` and a method such as \`GET\``,
    };
  }
  const pattern = path === undefined ? undefined : parsePathPattern(path);
  return pattern !== undefined && "problem" in pattern ? pattern : { plane: "proxy", service, action, pattern };
}

function parseManage(text: string, action: string, path: string | undefined): Permission | Problem {
  if (path !== undefined) return { problem: `${shown(text)} has a path; a permission for \`manage\` takes none` };
  if (MANAGE_PARTS.includes(action)) return { plane: "manage", part: action as ManagePermission["part"] };
  const allowed = MANAGE_PARTS.map((part) => `\`manage:${part}\``).join(", ");
  return { problem: `${shown(text)} is not a part of the management plane; allowed are ${allowed}` };
}

/** @param texts one that cannot be parsed grants nothing: a newer gateway may have stored it. */
export function compilePermissions(texts: readonly string[]): Permissions {
  const parsed = texts.map(parsePermission);
  const granted = parsed.filter((permission): permission is Permission => "plane" in permission);
  const proxy = granted.filter((permission) => permission.plane === "proxy");
  const forEvery = proxy.filter(({ service }) => service === "*");
  const byService = new Map(
    proxy.map(({ service: key }) => [key, proxy.filter(({ service }) => service === "*" || service === key)]),
  );
  const parts = new Set(granted.flatMap((permission) => (permission.plane === "manage" ? [permission.part] : [])));
  return {
    allowsProxy: (service, method, path) => allowsPath(byService.get(service) ?? forEvery, method, path),
    allowsAll: (service) =>
      (byService.get(service) ?? forEvery).some(({ action, pattern }) => action === "*" && pattern === undefined),
    allowsService: (service) => forEvery.length > 0 || byService.has(service),
    allowsManage: (part) => parts.has("*") || parts.has(part),
    hasProxy: proxy.length > 0,
    hasManage: parts.size > 0,
    texts,
    granted,
  };
}

function allowsPath(permissions: readonly ProxyPermission[], method: string, path: JudgedPath): boolean {
  let patterns: PathPattern[] | undefined;
  for (const { action, pattern } of permissions) {
    if (!allowsMethod(action, method)) continue;
    if (pattern === undefined) return true;
    patterns ??= [];
    patterns.push(pattern);
  }
  return patterns !== undefined && path.isMatchedBy(patterns);
}

/**
 * The permissions in `asked` that `held` does not cover, because no key grants more than it holds. Cases that are hard to decide
 * count as not covered: each asked permission must be covered, method by method, by a single held one.
 */
export function uncoveredBy(held: Permissions, asked: readonly string[]): readonly string[] {
  const work = { left: GRANT_WORK_LIMIT };
  const own = new Set(held.texts);
  return asked.filter((text) => {
    const permission = parsePermission(text);
    if ("problem" in permission) return true;
    return !own.has(text) && !isCovered(permission, held, work);
  });
}

function isCovered(asked: Permission, held: Permissions, work: Work): boolean {
  if (asked.plane === "manage") {
    // Parts may be added later: all of today's parts together are not `*`.
    if (asked.part !== "*") return held.allowsManage(asked.part);
    return held.granted.some((permission) => permission.plane === "manage" && permission.part === "*");
  }
  return partsOf(asked.action).every((part) =>
    held.granted.some(
      (permission) =>
        permission.plane === "proxy" &&
        (permission.service === "*" || permission.service === asked.service) &&
        allowsMethod(permission.action, part) &&
        coversPath(permission.pattern, asked.pattern, work),
    ),
  );
}

/** `write` covers any number of methods, so it is not split: only `write` and `*` allow it. */
function partsOf(action: string): readonly string[] {
  if (action === "read") return READ_METHODS;
  return action === "*" ? [...READ_METHODS, "write"] : [action];
}

function coversPath(held: PathPattern | undefined, asked: PathPattern | undefined, work: Work): boolean {
  return held === undefined || (asked !== undefined && held.covers(asked, work));
}

/**
 * The narrowest permission that would allow the request, for `required` in a refusal. It includes the path where one pattern is
 * enough; a path with several readings would need several patterns.
 */
export function requiredFor(service: string, method: string, path: JudgedPath): string {
  const action = KNOWN_METHODS.has(method) ? method : "write";
  const exact = `${service}:${action}:${path.text === "" ? "/" : path.text.replaceAll("*", "%2A")}`;
  return compilePermissions([exact]).allowsProxy(service, method, path) ? exact : `${service}:${action}`;
}

/** The method, or `OTHER` for every method that no permission can name: those are treated alike. */
export function methodToJudge(method: string): string {
  return KNOWN_METHODS.has(method) ? method : "OTHER";
}

function isAction(action: string): boolean {
  return action === "read" || action === "write" || action === "*" || KNOWN_METHODS.has(action);
}

function allowsMethod(action: string, method: string): boolean {
  if (action === "*" || action === method) return true;
  if (action === "read") return READ_METHODS.includes(method);
  return action === "write" && !READ_METHODS.includes(method);
}

/** Long texts are not shown: a client may have put a key there. */
function shown(text: string): string {
  return text.length > SHOWN_LIMIT ? `a string of ${text.length} characters` : JSON.stringify(text);
}
