/** The end of a credential that is a JSON Web Token. */
import { isObject } from "../is-object.ts";

/** `exp` in seconds since 1970 (RFC 7519 section 4.1.4); undefined for any other text. The signature is for the upstream. */
export function endOfJwt(text: string): number | undefined {
  const [, payload, signature, ...others] = text.split(".");
  if (payload === undefined || signature === undefined || others.length > 0) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const exp = isObject(claims) ? claims.exp : undefined;
    return typeof exp === "number" && Number.isFinite(exp) ? exp : undefined;
  } catch {
    return undefined;
  }
}
