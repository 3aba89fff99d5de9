/**
 * How large a service's definition may be, beyond the limits of single members.
 * Invariant: everything that a service keeps in memory, or that a request walks over, is bounded before it is stored.
 */
import type { z } from "zod";

/** Configured headers: `headers` and `setHeaders` together. The second is of names and values, in characters. */
const HEADERS_LIMIT = 64;
const HEADERS_LENGTH_LIMIT = 8_192;

const VERSIONS_LIMIT = 64;

interface Sized {
  readonly headers: Readonly<Record<string, string>>;
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly versionedBaseUrls: Readonly<Record<string, string>>;
}

export function checkBudget(service: Sized, refinement: z.RefinementCtx): void {
  const problem = (member: keyof Sized, message: string) =>
    refinement.addIssue({ code: "custom", path: [member], params: { isBudget: true }, message });
  const headers = [...Object.entries(service.headers), ...Object.entries(service.setHeaders)];
  const length = headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  const member = Object.keys(service.headers).length > 0 ? "headers" : "setHeaders";
  if (headers.length > HEADERS_LIMIT || length > HEADERS_LENGTH_LIMIT) {
    problem(
      member,
      `headers and setHeaders with at most ${HEADERS_LIMIT} headers of ${HEADERS_LENGTH_LIMIT} characters in all, these are ${headers.length} of ${length}`,
    );
  }
  const versions = Object.keys(service.versionedBaseUrls).length;
  if (versions > VERSIONS_LIMIT)
    problem("versionedBaseUrls", `at most ${VERSIONS_LIMIT} versions, these are ${versions}`);
}
