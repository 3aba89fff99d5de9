/**
 * The request that validates a stored response: the cache's own conditions in the place of the client's (RFC 9111 section 4.3.1).
 * The client's conditions are evaluated later, against the validated response.
 */
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { StoredResponse } from "./stored-response.ts";

const CONDITIONS: ReadonlySet<string> = new Set(["if-none-match", "if-modified-since"]);

/** @param restoreConditions changes the conditions into those that the upstream knows; undefined where they are the same. */
export function conditionalRequest(
  request: UpstreamRequest,
  { etag, lastModified }: StoredResponse,
  restoreConditions: ((headers: string[]) => void) | undefined,
): UpstreamRequest {
  const headers: string[] = [];
  for (let i = 0; i < request.strippedLength; i += 2) {
    const name = request.headers[i] as string;
    if (!CONDITIONS.has(name.toLowerCase())) headers.push(name, request.headers[i + 1] as string);
  }
  const own: string[] = [];
  if (etag !== undefined) own.push("If-None-Match", etag);
  if (lastModified !== undefined) own.push("If-Modified-Since", lastModified);
  restoreConditions?.(own);
  headers.push(...own);
  return { ...request, headers, strippedLength: headers.length };
}
