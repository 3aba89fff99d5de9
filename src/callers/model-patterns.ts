/**
 * The `models` of an issued key: patterns for the names of models that its requests may ask for.
 * Invariant: matching takes linear time, and a pattern that cannot be parsed allows nothing.
 */

export const MODEL_PATTERNS_LIMIT = 50;

const PATTERN = /^[A-Za-z0-9*][A-Za-z0-9._:/@+*-]{0,199}$/;

/** With `*`, because patterns are compared with patterns too. */
const NAME = /^[A-Za-z0-9._:/@+*-]{1,200}$/;
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/;

export const MODEL_PATTERN_FORM =
  "the name of a model, with `*` for any characters: letters, digits, `.`, `_`, `:`, `/`, `@`, `+`, `-` and `*`, at most 200";

export function isModelPattern(text: string): boolean {
  return PATTERN.test(text);
}

/** The whole name, with its case. A name with other characters, or with dot segments, matches no pattern: upstreams may read it as another. */
export function matchesModel(pattern: string, name: string): boolean {
  if (!isModelPattern(pattern) || !NAME.test(name) || DOT_SEGMENT.test(name)) return false;
  const parts = pattern.split("*");
  const first = parts[0] as string;
  if (parts.length === 1) return name === first;
  const last = parts[parts.length - 1] as string;
  if (!name.startsWith(first) || name.length < first.length + last.length || !name.endsWith(last)) return false;
  let at = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** The patterns that allow a name that none of the held patterns allows. A `*` of a pattern is matched by a `*` only. */
export function uncoveredModels(held: readonly string[], asked: readonly string[]): readonly string[] {
  return asked.filter((pattern) => !held.some((each) => matchesModel(each, pattern)));
}
