/**
 * What is wrong with a configuration, in words: one line a problem, all of them at once.
 * Invariant: a line shows a found value only where it cannot be, or hold, a secret.
 */

/** Thrown by `loadConfig`: the program ends with exit code 2 and prints the lines. */
export class ConfigProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigProblems";
    this.problems = problems;
  }
}

const LONGEST_SHOWN = 60;
/** Names and typing errors are at most this long; tokens and keys are longer, and never shown. */
const LONGEST_WORD_SHOWN = 32;
/** Masking looks back and forth in a text; longer ones are not shown at all. */
const LONGEST_MASKED = 1_000;
const LONG_WORD = new RegExp(`[^\\s/.,:?&=]{${LONGEST_WORD_SHOWN + 1},}`, "g");

/** Text for a problem line: user info, query and long words masked, cut, and nothing at all of a text with line breaks. */
export function showText(text: string): string {
  // Not cut first: what a mask goes by could be cut off with it.
  if (text.length > LONGEST_MASKED || /[\x00-\x1f\x7f]/.test(text)) return `a text of ${text.length} characters`;
  const masked = text
    .replace(/(:\/\/)[^/?#]*@/g, "$1***@")
    .replace(/([?&][^=&\s]*=)[^&#\s]+/g, "$1***")
    .replace(LONG_WORD, "***");
  return JSON.stringify(masked.length > LONGEST_SHOWN ? `${masked.slice(0, LONGEST_SHOWN - 1)}…` : masked);
}

/** The same for a word out of a file, where a slip of the pen can move a secret to any place. */
export function showWord(text: string): string {
  const isUrl = /^https?:\/\/\S*$/i.test(text);
  return isUrl || text.length <= LONGEST_WORD_SHOWN ? showText(text) : `a text of ${text.length} characters`;
}

/** A value out of a file; `isSecret` shows its type only. */
export function showValue(value: unknown, isSecret: boolean): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return isSecret ? "a text" : showWord(value);
  return isSecret ? `a ${typeof value}` : String(value);
}

/** `services.github.headers["X Y"]`, with long names left out. */
export function showPath(path: readonly PropertyKey[]): string {
  return path
    .map((segment, index) => {
      if (typeof segment === "number") return `[${segment}]`;
      const name = String(segment);
      if (/^[A-Za-z0-9_$-]+$/.test(name) && name.length <= LONGEST_WORD_SHOWN) return index === 0 ? name : `.${name}`;
      return `[${showWord(name)}]`;
    })
    .join("");
}
