/**
 * Decides whether a text message of a client has a placeholder where the rule of the service says so, and replaces it.
 * Invariant: only a whole string at that path is replaced; every other byte stays. A message that is not valid JSON in UTF-8, or that
 * parsers may read in different ways, is not touched, so that a client cannot move the secret into another member.
 */
import { isUtf8 } from "node:buffer";
import type { MessageRule } from "../../../config/ws-schema.ts";
import { findValue, type Span } from "../../json-span.ts";

export interface MessageMatch {
  /** Where the text is in the message, with its quotes. */
  readonly span: Span;
  /** The decoded string. */
  readonly text: string;
}

export interface MessageMatcher {
  /** @param message the payload, not masked. */
  find(message: Buffer): MessageMatch | undefined;
}

/** A text that no key and no placeholder can have. */
const LONGEST_TEXT = 8_192;

const BACKSLASH = 0x5c;

export function createMessageMatcher({ match, path }: MessageRule): MessageMatcher {
  const conditions = match.map(([member, values]) => ({ path: member.split("."), values: new Set<unknown>(values) }));
  const segments = path.split(".");
  const name = segments.findLast((segment) => !/^[0-9]+$/.test(segment));
  const quoted = name === undefined ? undefined : Buffer.from(JSON.stringify(name));
  return {
    find(message) {
      // Most messages have no member of this name: searching for it costs a fraction of parsing. A name may have escapes.
      if (quoted !== undefined && !message.includes(quoted) && !message.includes(BACKSLASH)) return undefined;
      if (!isJson(message)) return undefined;
      for (const condition of conditions) {
        const found = findValue(message, condition.path);
        if (found === undefined || !condition.values.has(valueAt(message, found))) return undefined;
      }
      const span = findValue(message, segments);
      const isText = span !== undefined && message[span.start] === QUOTE && span.end - span.start <= LONGEST_TEXT;
      return isText ? { span, text: valueAt(message, span) as string } : undefined;
    },
  };
}

/** The message with another string. */
export function replaceText(message: Buffer, { start, end }: Span, text: string): Buffer {
  return Buffer.concat([message.subarray(0, start), Buffer.from(JSON.stringify(text)), message.subarray(end)]);
}

const QUOTE = 0x22;

function isJson(message: Buffer): boolean {
  if (!isUtf8(message)) return false;
  try {
    JSON.parse(message.toString("utf8"));
    return true;
  } catch {
    return false;
  }
}

/** Of a string, number, boolean or null; another value is equal to none. */
function valueAt(message: Buffer, { start, end }: Span): unknown {
  if (end - start > LONGEST_TEXT) return undefined;
  return JSON.parse(message.toString("utf8", start, end));
}
