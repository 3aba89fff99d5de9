/**
 * Explains in terms of JSON why a text is not JSON. The YAML parser, which reads JSON too, speaks of flow maps.
 * Invariant: never quotes the text, which may contain secrets.
 */
import { type ParseError, parse, printParseErrorCode } from "jsonc-parser";

export interface JsonFault {
  /** Into the text. */
  readonly offset: number;
  /** Completes "found …". */
  readonly words: string;
}

/** By the library's names of its codes. */
const WORDS: Readonly<Record<string, string>> = {
  InvalidSymbol: "a word without double quotes",
  InvalidNumberFormat: "a number that JSON does not know",
  PropertyNameExpected: "no name in double quotes where one must be",
  ValueExpected: "no value where one must be",
  ColonExpected: "no : after a name",
  CommaExpected: "no comma between two values",
  CloseBraceExpected: "no } at the end of an object",
  CloseBracketExpected: "no ] at the end of a list",
  EndOfFileExpected: "text after the last }",
  InvalidCommentToken: "a comment, which JSON does not have",
  UnexpectedEndOfComment: "a comment, which JSON does not have",
  UnexpectedEndOfString: 'a text without a " at its end',
  UnexpectedEndOfNumber: "a number without its last digits",
  InvalidUnicode: "a \\u without four hexadecimal digits",
  InvalidEscapeCharacter: "an escape sequence that JSON does not know",
  InvalidCharacter: "a control character inside a text",
};

/** The first fault of a text that begins as JSON does; undefined for other text, and for JSON. */
export function findJsonFault(text: string): JsonFault | undefined {
  if (!/^\s*[{[]/.test(text)) return undefined;
  const errors: ParseError[] = [];
  parse(text, errors, { disallowComments: true, allowTrailingComma: false });
  const [first] = errors;
  if (first === undefined) return undefined;
  const name = printParseErrorCode(first.error);
  const isAfterComma = /,\s*$/.test(text.slice(0, first.offset));
  if (isAfterComma && /^(?:PropertyName|Value)Expected$/.test(name)) {
    return { offset: first.offset, words: "a comma without a value after it" };
  }
  return { offset: first.offset, words: WORDS[name] ?? "a syntax error" };
}
