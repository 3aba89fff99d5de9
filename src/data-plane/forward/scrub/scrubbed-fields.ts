/**
 * The header fields of a service with `scrubBodies`, on both sides.
 * Invariant: the upstream is asked for whole and unencoded bodies, and no field of the response claims that a body is
 * byte for byte the upstream's, because it may be masked.
 */
import type { ResponseHeaders } from "../transport/response-fields.ts";

/** Request headers that are removed: encodings and parts of a body, and digests that would be removed from the response. */
export const UNSCRUBBABLE_REQUEST_FIELDS: readonly string[] = [
  "accept-encoding",
  "range",
  "if-range",
  // Older names, and those of vendors.
  "request-range",
  "x-ms-range",
  "x-ms-range-get-content-md5",
  "x-amz-checksum-mode",
  // RFC 9530 section 4, and the draft before it.
  "want-content-digest",
  "want-repr-digest",
  "want-digest",
  // RFC 3229.
  "a-im",
];

/** RFC 9530, the fields that it replaces, and those of vendors. */
const DIGEST =
  /^(?:(?:content-|repr-)?digest|content-md5|x-goog-hash|x-amz-checksum-.+|x-ms-(?:blob-)?content-(?:md5|crc64))$/;

/** ETags of the upstream and of the client (RFC 9110 section 8.8.3). */
export class EntityTags {
  /** The upstream has weak tags of its own: then a weak tag may be one of them. */
  #hasOwnWeak = false;

  weaken(tag: string): string {
    if (tag.startsWith("W/")) this.#hasOwnWeak = true;
    return tag.startsWith('"') ? `W/${tag}` : tag;
  }

  /**
   * Gives the upstream the tags that it sent: a weak one never matches in `If-Match` (RFC 9110 section 13.1.1).
   * @param headers a flat list.
   */
  restore(headers: string[]): void {
    if (this.#hasOwnWeak) return;
    for (let i = 0; i < headers.length; i += 2) {
      if (!/^if-(?:none-)?match$/i.test(headers[i] as string)) continue;
      headers[i + 1] = (headers[i + 1] as string).replace(/(?:W\/)?("[^"]*")/g, "$1");
    }
  }
}

/** @param isText its body is searched; any other keeps its tag and its digests. @returns the fields for the client. */
export function scrubbedFields(received: ResponseHeaders, isText: boolean, tags: EntityTags): ResponseHeaders {
  const fields: ResponseHeaders = Object.create(null);
  for (const name in received) {
    const value = received[name];
    if (value === undefined || name === "accept-ranges" || (isText && DIGEST.test(name))) continue;
    if (name === "etag" && isText) fields[name] = [value].flat().map((tag) => tags.weaken(tag));
    else if (name === "trailer" && isText) fields[name] = withoutDigests(value);
    else fields[name] = value;
  }
  return fields;
}

function withoutDigests(value: string | string[]): string {
  const names = [value].flat().flatMap((list) => list.split(","));
  return names.filter((name) => !DIGEST.test(name.trim().toLowerCase())).join(",");
}
