/** Properties of bytes, for the search for secrets. */

export const PERCENT = 0x25;
export const AMPERSAND = 0x26;
export const PLUS = 0x2b;
export const SPACE = 0x20;
export const BACKSLASH = 0x5c;

/** Each byte stands for itself. */
export const CODE_OF_CHARACTER: Uint8Array = Uint8Array.from({ length: 256 }, (_, value) => value);

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The six bits of a base64 character (RFC 4648, both alphabets) with a seventh one; 0 for other bytes. */
export const SEXTETS: Uint8Array = Uint8Array.from({ length: 256 }, (_, value) => {
  const character = String.fromCharCode(value).replace("-", "+").replace("_", "/");
  return BASE64.includes(character) ? 0x40 | BASE64.indexOf(character) : 0;
});

/** 1 for bytes that may begin a spelling of several bytes, and for `+`, which may be a space. */
export const ESCAPES: Uint8Array = Uint8Array.from({ length: 256 }, (_, value) =>
  [PERCENT, AMPERSAND, PLUS, BACKSLASH].includes(value) ? 1 : 0,
);

/** The value of a hex digit; 255 for other bytes. */
export const HEX: Uint8Array = Uint8Array.from({ length: 256 }, (_, value) => {
  const digit = "0123456789abcdef".indexOf(String.fromCharCode(value).toLowerCase());
  return digit < 0 ? 255 : digit;
});

/** What a letter after a backslash stands for (RFC 8259 section 7, and `\\'` of JavaScript); 0 where it means nothing. */
export const UNESCAPED: Uint8Array = Uint8Array.from({ length: 256 }, (_, letter) => {
  const character = String.fromCharCode(letter);
  if ("\"'/".includes(character)) return letter;
  const control = "bfnrt".indexOf(character);
  return control < 0 ? 0 : "\b\f\n\r\t".charCodeAt(control);
});

/** Names of the characters that HTML and XML escape. */
export const ENTITIES: ReadonlyMap<string, number> = new Map([
  ["amp", 0x26],
  ["lt", 0x3c],
  ["gt", 0x3e],
  ["quot", 0x22],
  ["apos", 0x27],
]);
