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
const DIGESTS: ReadonlySet<string> = new Set([
  ...["digest", "content-digest", "repr-digest", "content-md5"],
  ...["x-goog-hash", "x-ms-content-md5", "x-ms-blob-content-md5", "x-ms-content-crc64"],
]);

function isDigest(name: string): boolean {
  return DIGESTS.has(name) || name.startsWith("x-amz-checksum-");
}

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

/** Changes the fields in place into those for the client. @param isText the body is searched; any other keeps its tag and its digests. */
export function scrubFields(fields: ResponseHeaders, isText: boolean, tags: EntityTags): void {
  if (fields["accept-ranges"] !== undefined) fields["accept-ranges"] = undefined;
  if (!isText) return;
  for (const name in fields) if (isDigest(name)) fields[name] = undefined;
  const { etag, trailer } = fields;
  if (etag !== undefined)
    fields.etag = typeof etag === "string" ? tags.weaken(etag) : etag.map((tag) => tags.weaken(tag));
  if (trailer !== undefined) fields.trailer = withoutDigests(trailer);
}

function withoutDigests(value: string | string[]): string {
  const names = [value].flat().flatMap((list) => list.split(","));
  return names.filter((name) => !isDigest(name.trim().toLowerCase())).join(",");
}
