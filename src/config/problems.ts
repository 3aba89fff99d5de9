/**
 * Problems of a configuration as text: one line for each problem.
 * Invariant: a line shows a value only if it cannot be, or contain, a secret.
 */
import { maskBaseUrl } from "../telemetry/redact.ts";

/** Thrown by `loadConfig`. The process prints the lines and exits with code 2. */
export class ConfigProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigProblems";
    this.problems = problems;
  }
}

const LONGEST_SHOWN = 60;
/** Names and typing errors are at most this long. Tokens and keys are longer, and are never shown. */
const LONGEST_WORD_SHOWN = 32;
/** Limits the time that the regular expressions of masking take. A longer text is not shown. */
const LONGEST_MASKED = 1_000;
const LONG_WORD = new RegExp(`[^\\s/.,:?&=]{${LONGEST_WORD_SHOWN + 1},}`, "g");

/** Text for a problem line: shortened, with user info, query and long words masked. Text with line breaks is not shown. */
export function showText(text: string): string {
  // Masked before it is shortened: shortening could remove the characters by which a secret is recognized.
  if (text.length > LONGEST_MASKED || /[\x00-\x1f\x7f]/.test(text)) return `a string of ${text.length} characters`;
  const masked = maskBaseUrl(text)
    .replace(/(:\/\/)[^/?#]*@/g, "$1***@")
    .replace(/([?&][^=&\s]*=)[^&#\s]+/g, "$1***")
    .replace(LONG_WORD, "***");
  return JSON.stringify(masked.length > LONGEST_SHOWN ? `${masked.slice(0, LONGEST_SHOWN - 1)}…` : masked);
}

/** The same for a word from a file, where a typing mistake can put a secret in any place. */
export function showWord(text: string): string {
  const isUrl = /^https?:\/\/\S*$/i.test(text);
  return isUrl || text.length <= LONGEST_WORD_SHOWN ? showText(text) : `a string of ${text.length} characters`;
}

/** A value from a file; only its type with `isSecret`. */
export function showValue(value: unknown, isSecret: boolean): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return isSecret ? "a string" : showWord(value);
  return isSecret ? `a ${typeof value}` : String(value);
}

/** `services.github.headers["X Y"]`, without long names. */
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
