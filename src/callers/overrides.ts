/**
 * What in a request, beside its method and path, asks the upstream for another method or another path, as frameworks, caches and
 * object stores read it.
 * Invariant: a name counts however a server folds it: in any case, and with any character that is no letter or digit for `-`,
 * because CGI and its successors turn all of them into `_`. Bodies are not read.
 */
import { METHODS } from "node:http";

export interface Overrides {
  /** In upper case: methods that the upstream may use instead of the request's own. */
  readonly methods: ReadonlySet<string>;
  /** The upstream may serve, or read, any path. */
  readonly isForAnyPath: boolean;
}

export interface OverridableRequest {
  readonly rawHeaders: readonly string[];
  readonly query: string | undefined;
  /** Folded names of query parameters, see `foldName`. */
  readonly methodParameters: ReadonlySet<string>;
  /** A trusted proxy wrote the X-Forwarded-* headers, which end here. */
  readonly isFromProxy: boolean;
}

/** All names below contain one of these: excludes nearly all headers at once. */
const SUSPECT = /method|verb|ur[il]|path|prefix|script|destination|source|from|target|manifest/i;

/** No framework has a longer header name. */
const NAME_LIMIT = 64;

const METHOD_NAME = /method|verb/;
/** Names that have no other meaning: any value in them is a method. */
const METHOD_OVERRIDE = /(?:method|verb).*override|override.*(?:method|verb)|^(?:x-)?http-?(?:method|verb)$/;
/** Of a CORS preflight. */
const PREFLIGHT_METHOD = "access-control-request-method";
const HTTP_METHODS: ReadonlySet<string> = new Set(METHODS);

const PATH_WORDS: ReadonlySet<string> = new Set(["url", "uri", "path", "pathinfo", "prefix", "urlpath", "requesturi"]);
/** Beside one of those words. `X-Callback-URL` or `X-Source-Path` is about something else. */
const OTHER_WORDS: ReadonlySet<string> = new Set([
  ...["original", "originating", "orig", "rewrite", "rewritten", "rewrited", "forwarded", "forward", "override"],
  ...[
    "overridden",
    "replaced",
    "requested",
    "request",
    "real",
    "raw",
    "unencoded",
    "internal",
    "routed",
    "effective",
    "target",
  ],
]);
const PATH_OVERRIDE =
  /^(?:(?:x-)?(?:ur[il]|path|path-?info|prefix|script-name|base-?ur[il]|base-?path|proxy-ur[il]|http-destinationurl|request-?uri)|destination|x-symlink-target|x-object-manifest)$/;
/** Object stores copy what these headers name: `x-amz-copy-source`, `x-ms-rename-source`, `X-Copy-From`. */
const COPY_SOURCE = /(?:^|-)(?:copy|rename|move)-(?:source|from)$/;

/** Undefined for nearly all requests. */
export function findOverrides(request: OverridableRequest): Overrides | undefined {
  const methods = new Set<string>();
  const isForAnyPath = readHeaders(request, methods);
  const { query, methodParameters } = request;
  if (query !== undefined && methodParameters.size > 0) readQuery(query, methodParameters, methods);
  return methods.size === 0 && !isForAnyPath ? undefined : { methods, isForAnyPath };
}

/** @param methods receives the methods that the headers name. @returns whether a header names a path. */
function readHeaders({ rawHeaders, isFromProxy }: OverridableRequest, methods: Set<string>): boolean {
  let isForAnyPath = false;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i] as string;
    if (raw.length > NAME_LIMIT || !SUSPECT.test(raw)) continue;
    const name = foldName(raw);
    if (METHOD_NAME.test(name)) {
      if (name !== PREFLIGHT_METHOD) addMethods(rawHeaders[i + 1] as string, METHOD_OVERRIDE.test(name), methods);
    } else if (!isForAnyPath && namesPath(name)) {
      isForAnyPath = !(isFromProxy && /^x-forwarded-/i.test(raw));
    }
  }
  return isForAnyPath;
}

function namesPath(name: string): boolean {
  if (PATH_OVERRIDE.test(name) || COPY_SOURCE.test(name)) return true;
  const words = name.split("-");
  return words.some((word) => PATH_WORDS.has(word)) && words.some((word) => OTHER_WORDS.has(word));
}

/** @param isAny false: only the methods of HTTP count, because `X-Payment-Method: card` is none. */
function addMethods(list: string, isAny: boolean, methods: Set<string>): void {
  for (const each of list.split(/[,\0]/)) {
    const method = each.trim().toUpperCase();
    if (method !== "" && (isAny || HTTP_METHODS.has(method))) methods.add(HTTP_METHODS.has(method) ? method : "OTHER");
  }
}

/**
 * Names and values are decoded, because servers do; PHP reads `.method` and `_method[]` as `_method`, too. Of any length: PHP drops all
 * spaces before a name, and everything from a NUL on.
 */
function readQuery(query: string, names: ReadonlySet<string>, methods: Set<string>): void {
  if (!/method|verb|%/i.test(query) && ![...names].some((name) => !METHOD_NAME.test(name))) return;
  for (const parameter of query.split(/[&;]/)) {
    const valueAt = parameter.indexOf("=");
    if (valueAt === -1) continue;
    const name = decoded(parameter.slice(0, valueAt));
    if (!name.split("\0").some((part) => names.has(foldName(part)))) continue;
    // Many APIs have functions that they call by `method=`.
    addMethods(decoded(parameter.slice(valueAt + 1)), name.toLowerCase() !== "method", methods);
  }
}

/** Only ASCII: there is no other character in a name or a method. */
function decoded(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  const spaced = text.replaceAll("+", " ");
  return spaced.replace(/%([0-7][0-9A-Fa-f])/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Lower case, with `-` for everything that is no letter or digit, none at either end. */
export function foldName(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}
