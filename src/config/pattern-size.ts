/**
 * An upper bound for the compiled size of an RE2 pattern, computed from its text.
 * Invariant: linear in the length of the text and never below the number of instructions that the compiler would make, because
 * `(a{1000}){1000}` must be refused before it is compiled.
 */

/** A class beyond Latin-1 has hundreds of ranges, which the compiler sorts, folds and merges. */
const UNICODE_CLASS = 50;

/** Start, fail and match. */
const FIXED = 3;

const COUNTED = /\{(\d{1,9})(?:(,)(\d{0,9}))?\}/y;
/** The beginning of a group with a name or flags. */
const GROUP_HEAD = /\(\?(?:P?<[^>]*>|[a-zA-Z-]*:|[<=!]*)/y;
/** Flags only: a repetition after them is for the item before them. */
const FLAGS = /\(\?[a-zA-Z-]*\)/y;

interface Level {
  /** Of everything in this group so far. */
  sum: number;
  /** Of the last item, which a repetition multiplies. */
  last: number;
}

/** In instructions; infinity for a count that overflows. */
export function patternSize(source: string): number {
  const outer: Level[] = [];
  let level: Level = { sum: 0, last: 0 };
  const add = (size: number) => {
    level.sum += size;
    level.last = size;
  };
  for (let at = 0; at < source.length; ) {
    const character = source[at] as string;
    if (character === "(") {
      const afterFlags = endOf(FLAGS, source, at);
      if (afterFlags !== undefined) {
        at = afterFlags;
        continue;
      }
      outer.push(level);
      level = { sum: 0, last: 0 };
      at = endOf(GROUP_HEAD, source, at) ?? at + 1;
    } else if (character === ")") {
      // Two instructions capture the group, and an empty one has an instruction that does nothing.
      const size = level.sum + 3;
      level = outer.pop() ?? { sum: level.sum, last: 0 };
      add(size);
      at += 1;
    } else if (character === "|") {
      // The second is for an empty alternative.
      add(2);
      at += 1;
    } else if (character === "*" || character === "+" || character === "?") {
      level.sum += 2;
      level.last += 2;
      at += 1;
    } else if (source.startsWith("\\Q", at)) {
      const end = source.indexOf("\\E", at);
      const quoted = (end === -1 ? source.length : end) - at - 2;
      level.sum += quoted;
      if (quoted > 0) level.last = 1;
      at = end === -1 ? source.length : end + 2;
    } else if (character === "[") {
      const end = endOfClass(source, at);
      add(classSize(source.slice(at, end)));
      at = end;
    } else if (character === "{") {
      const repeated = repetitionAt(source, at);
      if (repeated === undefined) add(1);
      else {
        const size = (level.last + 1) * Math.max(1, repeated.count);
        level.sum += size - level.last;
        level.last = size;
      }
      at = repeated?.end ?? at + 1;
    } else {
      const end = character === "\\" ? endOfEscape(source, at) : at + 1;
      add(classSize(source.slice(at, end)));
      at = end;
    }
  }
  // A group that is not closed is a syntax error, which the compiler reports.
  return FIXED + outer.reduce((sum, each) => sum + each.sum, level.sum);
}

function endOf(pattern: RegExp, source: string, from: number): number | undefined {
  pattern.lastIndex = from;
  return pattern.test(source) ? pattern.lastIndex : undefined;
}

/** `{n}`, `{n,}` or `{n,m}`; any other brace is a literal. */
function repetitionAt(source: string, from: number): { readonly count: number; readonly end: number } | undefined {
  COUNTED.lastIndex = from;
  const found = COUNTED.exec(source);
  if (found === null) return undefined;
  const [text, least = "0", , most = ""] = found;
  return { count: Math.max(Number(least) + 1, Number(most)), end: from + text.length };
}

/** `\p{Greek}`, `\x{10FFFF}`, `\xFF`, `\pL`, `\d`. */
function endOfEscape(source: string, from: number): number {
  const isNamed = /[pPx]/.test(source[from + 1] ?? "");
  if (!isNamed) return from + 2;
  if (source[from + 2] !== "{") return from + 3;
  const end = source.indexOf("}", from);
  return end === -1 ? source.length : end + 1;
}

function endOfClass(source: string, from: number): number {
  let at = source[from + 1] === "^" ? from + 2 : from + 1;
  if (source[at] === "]") at += 1;
  for (; at < source.length && source[at] !== "]"; at++) {
    if (source[at] === "\\") at = endOfEscape(source, at) - 1;
    else if (source[at] === "[" && source[at + 1] === ":") at = Math.max(at, source.indexOf(":]", at));
  }
  return at + 1;
}

/** Of one class, escape or character. */
function classSize(text: string): number {
  if (text.length < 2) return 1;
  const wide = text.match(/\\[pP]|\\x\{|[^\x00-\x7f]/g);
  return 1 + (wide === null ? 0 : wide.length * UNICODE_CLASS);
}
