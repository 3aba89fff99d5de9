/**
 * The common case of a services file, many times faster than as YAML: ten thousand services are read on each reload, and nobody
 * is served meanwhile.
 * Invariant: text that YAML would refuse, or read otherwise, is not read here.
 */
import { isObject } from "../is-object.ts";

/** Undefined for what is not JSON, has a name twice or `__proto__` in an object, or is nested deeper than `deepest`. */
export function readPlainJson(text: string, deepest: number): { readonly data: unknown } | undefined {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { depth, colons } = measure(text);
  // Of two members of one name JSON.parse keeps the last one without a word.
  return depth <= deepest && countMembers(data) === colons ? { data } : undefined;
}

/** Of text that is JSON: how deep it is nested, and how many members it writes. */
function measure(text: string): { readonly depth: number; readonly colons: number } {
  let depth = 0;
  let open = 0;
  let colons = 0;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === '"') index = endOfString(text, index);
    else if (character === ":") colons += 1;
    else if (character === "{" || character === "[") depth = Math.max(depth, ++open);
    else if (character === "}" || character === "]") open -= 1;
  }
  return { depth, colons };
}

function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
  return end;
}

/** Not a number where a name is `__proto__`. Recurses: only for what is known not to be deep. */
function countMembers(data: unknown): number {
  if (Array.isArray(data)) return data.reduce((count: number, item) => count + countMembers(item), 0);
  if (!isObject(data)) return 0;
  let count = 0;
  for (const [name, value] of Object.entries(data)) {
    count += name === "__proto__" ? Number.NaN : 1 + countMembers(value);
  }
  return count;
}
