/**
 * The response to one client from a stored response: all of it, a part of it, or that the client's copy is current.
 * (RFC 9110 sections 13.2.2 and 14; RFC 9111 section 4.3.2.)
 */
import { noFields, type ResponseHeaders } from "../forward/transport/response-fields.ts";
import { readHttpDate } from "./http-date.ts";
import type { RequestRules } from "./request-rules.ts";
import type { ReceivedResponse, StoredResponse } from "./stored-response.ts";

const NO_BYTES = Buffer.alloc(0);

/** @param wallNow ms since the epoch. */
export function selectResponse(
  stored: StoredResponse,
  rules: RequestRules,
  method: string,
  wallNow: number,
): ReceivedResponse {
  if (stored.status !== 200) return stored;
  const { ifNoneMatch, ifModifiedSince, range } = rules;
  if (ifNoneMatch !== undefined) {
    if (matchesWeakly(ifNoneMatch, stored.etag)) return notModified(stored);
  } else if (ifModifiedSince !== undefined && isUnmodified(stored, ifModifiedSince, wallNow))
    return notModified(stored);
  if (range === undefined || method !== "GET" || !isRangeWanted(stored, rules.ifRange, wallNow)) return stored;
  return partOf(stored, range);
}

/** RFC 9110 section 13.1.2: the weak comparison, in which `W/` does not count. */
function matchesWeakly(list: string, etag: string | undefined): boolean {
  if (list.trim() === "*") return true;
  if (etag === undefined) return false;
  const opaque = etag.replace(/^W\//, "");
  return [...list.matchAll(/(?:W\/)?("[^"]*")/g)].some((match) => match[1] === opaque);
}

function isUnmodified({ lastModified }: StoredResponse, since: string, wallNow: number): boolean {
  const modified = readHttpDate(lastModified, wallNow);
  const known = readHttpDate(since, wallNow);
  return modified <= known;
}

/** RFC 9110 section 13.1.5: the strong comparison. A date is strong if the resource had been unchanged for a while. */
function isRangeWanted({ etag, lastModified, headers }: StoredResponse, ifRange: string | undefined, wallNow: number) {
  if (ifRange === undefined) return true;
  if (ifRange.startsWith('"')) return ifRange === etag;
  const modified = readHttpDate(lastModified, wallNow);
  const date = readHttpDate(String(headers.date), wallNow);
  return ifRange === lastModified && date - modified >= 1_000;
}

/** They describe a body that is not sent. */
const DESCRIBES_BODY = /^content-(?!location$|security-policy|disposition$)/;

function notModified({ headers: all }: StoredResponse): ReceivedResponse {
  const headers = noFields();
  for (const name in all) if (!DESCRIBES_BODY.test(name)) headers[name] = all[name];
  return { status: 304, reason: "", headers, body: NO_BYTES };
}

/** One range. For several, and for an invalid header, all of the response is sent (RFC 9110 section 14.2). */
function partOf(stored: StoredResponse, range: string): ReceivedResponse {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range);
  const { length } = stored.body;
  const [, from = "", to = ""] = match ?? [];
  if (match === null || (from === "" && to === "")) return stored;
  if (from !== "" && to !== "" && Number(to) < Number(from)) return stored;
  const start = from === "" ? Math.max(0, length - Number(to)) : Number(from);
  const end = from === "" || to === "" ? length : Math.min(length, Number(to) + 1);
  if (start >= length || (from === "" && Number(to) === 0)) return unsatisfiable(length);
  const headers: ResponseHeaders = Object.assign(noFields(), stored.headers, {
    "content-range": `bytes ${start}-${end - 1}/${length}`,
    "content-length": String(end - start),
  });
  return { status: 206, reason: "", headers, body: stored.body.subarray(start, end) };
}

function unsatisfiable(length: number): ReceivedResponse {
  const headers = Object.assign(noFields(), { "content-range": `bytes */${length}`, "content-length": "0" });
  return { status: 416, reason: "", headers, body: NO_BYTES };
}
