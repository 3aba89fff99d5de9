/**
 * Finds a member of a JSON text by its path, and says where its value is, byte for byte.
 * Invariant: a text that two parsers may read in different ways has no such member: one with two members of the same name on the path, in any
 * case. The text has been parsed before, so that only its structure is followed here, without recursion.
 */

/** Offsets in the text; `end` is after the last byte. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** @param text valid JSON in UTF-8. @param path names of members, and indexes of lists. */
export function findValue(text: Buffer, path: readonly string[]): Span | undefined {
  let start = skipSpace(text, 0);
  for (const name of path) {
    const first = text[start];
    const found =
      first === OPEN_BRACE
        ? findMember(text, start, name)
        : first === OPEN_BRACKET && /^(?:0|[1-9][0-9]{0,8})$/.test(name)
          ? findItem(text, start, Number(name))
          : -1;
    if (found === -1) return undefined;
    start = found;
  }
  return { start, end: endOf(text, start) };
}

export interface Member {
  readonly name: string;
  readonly value: Span;
}

/** The members of an object, in their order, with names as they are after unescaping. @param text valid JSON in UTF-8. */
export function* membersOf(text: Buffer, open: number): Generator<Member> {
  let at = skipSpace(text, open + 1);
  while (text[at] !== CLOSE_BRACE) {
    const nameEnd = endOf(text, at);
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = endOf(text, start);
    const isNamePlain = isPlain(text, at + 1, nameEnd - 1);
    const name = isNamePlain
      ? text.toString("latin1", at + 1, nameEnd - 1)
      : JSON.parse(text.toString("utf8", at, nameEnd));
    yield { name, value: { start, end } };
    at = skipSpace(text, end);
    if (text[at] === COMMA) at = skipSpace(text, at + 1);
  }
}

/** Where the object of the text begins; undefined where its value is not an object. @param text valid JSON in UTF-8. */
export function objectStart(text: Buffer, from = 0): number | undefined {
  const start = skipSpace(text, from);
  return text[start] === OPEN_BRACE ? start : undefined;
}

/** @returns the start of the member's value; -1 where there is none, or more than one that a parser may take for it. */
function findMember(text: Buffer, open: number, name: string): number {
  const isPlainName = /^[ -~]*$/.test(name);
  let found = -1;
  let at = skipSpace(text, open + 1);
  while (text[at] !== CLOSE_BRACE) {
    const nameEnd = endOf(text, at);
    const value = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const length = nameEnd - at - 2;
    // Most names are plain, and of another length.
    if (!isPlainName || length === name.length || !isPlain(text, at + 1, nameEnd - 1)) {
      const its = JSON.parse(text.toString("utf8", at, nameEnd)) as string;
      if (its === name || fold(its) === fold(name)) {
        if (found !== -1 || its !== name) return -1;
        found = value;
      }
    }
    at = skipSpace(text, endOf(text, value));
    if (text[at] === COMMA) at = skipSpace(text, at + 1);
  }
  return found;
}

/** ASCII without escapes: folding does not change its length. */
function isPlain(text: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    if ((text[at] as number) >= 0x80 || text[at] === BACKSLASH) return false;
  }
  return true;
}

function findItem(text: Buffer, open: number, index: number): number {
  let at = skipSpace(text, open + 1);
  for (let i = 0; text[at] !== CLOSE_BRACKET; i++) {
    if (i === index) return at;
    at = skipSpace(text, endOf(text, at));
    if (text[at] === COMMA) at = skipSpace(text, at + 1);
  }
  return -1;
}

/** Some parsers ignore the case of names (Go's encoding/json), with Unicode's simple folding: `ſ` is `s`. */
const fold = (name: string) => name.toUpperCase().toLowerCase();

function skipSpace(text: Buffer, at: number): number {
  while (at < text.length && isSpace(text[at] as number)) at++;
  return at;
}

/** RFC 8259 section 2. */
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** The end of the value that begins at `at`. */
function endOf(text: Buffer, at: number): number {
  const first = text[at];
  if (first === QUOTE) return endOfString(text, at);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return endOfContainer(text, at);
  let end = at;
  while (end < text.length && !endsScalar(text[end] as number)) end++;
  return end;
}

const endsScalar = (byte: number) => byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte);

function endOfString(text: Buffer, open: number): number {
  let at = open + 1;
  while (text[at] !== QUOTE) at += text[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

function endOfContainer(text: Buffer, open: number): number {
  let depth = 0;
  let at = open;
  do {
    const byte = text[at];
    if (byte === QUOTE) {
      at = endOfString(text, at);
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
    at++;
  } while (depth > 0);
  return at;
}
