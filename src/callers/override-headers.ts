/**
 * Headers by which a request tells the upstream to take it for another: of another method, or for another path. Frameworks heed them.
 * Invariant: a name counts in any case and with `_` for `-`, as servers read it.
 */

const METHOD_OVERRIDES: ReadonlySet<string> = new Set(["x-http-method-override", "x-http-method", "x-method-override"]);
const PATH_OVERRIDES: ReadonlySet<string> = new Set([
  "x-original-url",
  "x-original-uri",
  "x-rewrite-url",
  "x-rewrite-uri",
]);

export interface Overrides {
  /** The methods that it may be taken for, besides its own. */
  readonly methods: readonly string[];
  /** It may be taken for any path. */
  readonly isOfAnyPath: boolean;
}

/** Undefined for the usual request. */
export function overridesIn(rawHeaders: readonly string[]): Overrides | undefined {
  let methods: string[] | undefined;
  let isOfAnyPath = false;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i] as string;
    // The shortest and the longest of the names: nearly all others are told by it.
    if (raw.length < 13 || raw.length > 22 || (raw.charCodeAt(0) | 32) !== 120 /* x */) continue;
    const name = raw.toLowerCase().replaceAll("_", "-");
    if (METHOD_OVERRIDES.has(name)) {
      methods ??= [];
      for (const method of (rawHeaders[i + 1] as string).split(",")) methods.push(method.trim().toUpperCase());
    } else if (PATH_OVERRIDES.has(name)) {
      isOfAnyPath = true;
    }
  }
  return methods === undefined && !isOfAnyPath ? undefined : { methods: methods ?? [], isOfAnyPath };
}
