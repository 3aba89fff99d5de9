/** The end of a credential that is a JSON Web Token. */
import { isObject } from "../is-object.ts";

/** The last second that a date can have (ECMA-262 section 21.4.1.1). */
const LAST_SECOND = 8.64e12;

/** `exp` in seconds since 1970 (RFC 7519 section 4.1.4); undefined for any other text, and for an end that is no date. The signature is for the upstream. */
export function endOfJwt(text: string): number | undefined {
  const [, payload, signature, ...others] = text.split(".");
  if (payload === undefined || signature === undefined || others.length > 0) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const exp = isObject(claims) ? claims.exp : undefined;
    return typeof exp === "number" && Math.abs(exp) <= LAST_SECOND ? exp : undefined;
  } catch {
    return undefined;
  }
}
