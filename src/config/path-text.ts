/** Texts inside one segment of a path (RFC 3986 section 3.3). */

/** Percent-encodes everything but pchar; encodeURIComponent encodes more than a path needs. */
export function encodePathText(text: string): string {
  return encodeURIComponent(text).replace(/%(?:24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent);
}
