/**
 * What the parts of a request may hold (RFC 9110 sections 5 and 9.1, RFC 9112 section 3.2), in every version of HTTP.
 * Invariant: CR, LF and NUL are in none of them.
 */

export const NOT_TOKEN = /[^!#$%&'*+\-.^_`|~0-9A-Za-z]/;
export const NOT_TARGET = /[^\x21-\xff]/;
export const NOT_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

export function invalidPart(part: string): TypeError {
  return Object.assign(new TypeError(`an invalid character in a ${part}`), { code: "ERR_INVALID_CHAR" });
}
