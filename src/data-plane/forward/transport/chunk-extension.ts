/** Checks the extensions of a chunk byte by byte (RFC 9112 section 7.1.1); the gateway uses none of them. */
import { TOKEN_CHARACTERS } from "./response-fields.ts";

/** What the next byte may continue. */
export type ExtensionPart = "nameStart" | "name" | "valueStart" | "value" | "quoted" | "quotedPair" | "quotedEnd";

const HTAB = 0x09;
const SPACE = 0x20;
const QUOTE = 0x22;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const DELETE = 0x7f;

/** @returns the part after this byte, or undefined if the byte is invalid there. The whitespace that the RFC calls bad is. */
export function nextExtensionPart(part: ExtensionPart, byte: number): ExtensionPart | undefined {
  switch (part) {
    case "nameStart":
      return isToken(byte) ? "name" : undefined;
    case "name":
      if (isToken(byte)) return "name";
      return byte === EQUALS ? "valueStart" : byte === SEMICOLON ? "nameStart" : undefined;
    case "valueStart":
      return isToken(byte) ? "value" : byte === QUOTE ? "quoted" : undefined;
    case "value":
      return isToken(byte) ? "value" : byte === SEMICOLON ? "nameStart" : undefined;
    case "quoted":
      if (byte === QUOTE) return "quotedEnd";
      return byte === BACKSLASH ? "quotedPair" : isText(byte) ? "quoted" : undefined;
    case "quotedPair":
      return isText(byte) ? "quoted" : undefined;
    case "quotedEnd":
      return byte === SEMICOLON ? "nameStart" : undefined;
  }
}

/** Whether the line may end there. */
export function isExtensionComplete(part: ExtensionPart): boolean {
  return part === "name" || part === "value" || part === "quotedEnd";
}

function isToken(byte: number): boolean {
  return TOKEN_CHARACTERS[byte] === 1;
}

function isText(byte: number): boolean {
  return (byte >= SPACE && byte !== DELETE) || byte === HTAB;
}
