/**
 * Whether a request's body is JSON that the gateway and every upstream read in the same way.
 * Invariant: what could be read in two ways has a problem: another type or encoding, another character set, a header sent twice.
 */

/** Completes "the gateway cannot read the model, because"; undefined where the body may be read. @param rawHeaders a flat list. */
export function whyUnreadable(rawHeaders: readonly string[]): string | undefined {
  const types = valuesOf(rawHeaders, "content-type");
  if (types.length !== 1) return `it has ${types.length === 0 ? "no" : "more than one"} Content-Type`;
  if (valuesOf(rawHeaders, "content-encoding").some((coding) => coding.trim().toLowerCase() !== "identity")) {
    return "it has a Content-Encoding";
  }
  const [type = "", ...parameters] = (types[0] as string).toLowerCase().split(";");
  if (type.trim() !== "application/json") return "its Content-Type is not application/json";
  // `charset*=` and `charset*0=` of RFC 2231 give it too.
  const isUtf8 = (parameter: string) =>
    !/^\s*charset\s*[=*]/.test(parameter) || /^\s*charset\s*=\s*"?utf-8"?\s*$/.test(parameter);
  return parameters.every(isUtf8) ? undefined : "its character set is not UTF-8";
}

/** With `_` for `-` too: some servers take both for the same name. */
function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const its = (rawHeaders[i] as string).toLowerCase().replaceAll("_", "-");
    if (its === name) values.push(rawHeaders[i + 1] as string);
  }
  return values;
}

/** The value; undefined where the bytes are no JSON in UTF-8. */
export function parseStrictly(body: Buffer): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(UTF_8.decode(body)) as unknown };
  } catch {
    return undefined;
  }
}

/** Keeps a byte order mark, which is no JSON. */
const UTF_8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
