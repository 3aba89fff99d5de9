/**
 * The base URL of a service.
 * Invariant: it equals its parsed form, because request paths are appended to the text byte for byte.
 */
import { z } from "zod";

const LENGTH_LIMIT = 2_048;

export const baseUrl = z
  .string()
  .max(LENGTH_LIMIT)
  .superRefine((text, refinement) => {
    const problem = baseUrlProblem(text);
    if (problem !== undefined) refinement.addIssue({ code: "custom", message: problem });
  })
  .meta({ allowed: "an http:// or https:// URL" });

function baseUrlProblem(text: string): string | undefined {
  // A longer one is refused for its length.
  if (text.length > LENGTH_LIMIT) return undefined;
  if (!/^https?:\/\//i.test(text)) return "an http:// or https:// URL";
  if (!URL.canParse(text)) return "a well-formed URL";
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") return "a URL without user info (the secret belongs in auth)";
  if (text.includes("?") || text.includes("#")) return "a URL without query and fragment";
  // Request paths are appended to this text byte for byte, so it must equal its parsed form.
  const path = text.slice(text.indexOf("://") + 3).replace(/^[^/]*/, "") || "/";
  if (path !== url.pathname)
    return "a path in its normal form: no dot segments, no \\, and special characters percent-encoded";
  return undefined;
}
