/**
 * Whose quota a request spends that bears no credential of the gateway's: the caller's own credential, by what it looks like.
 * Pure. Invariant: what changes with every request of one holder (a signature, an idempotency key) is no part of it.
 */

/** `Authorization`, GitLab's `Private-Token`, Shopify's `X-Shopify-Access-Token`, `X-Goog-Api-Key`, `Apikey` … */
const NAME = /^(?:authorization|cookie|.*(?:api-?key|access-key|auth-key|token|secret|auth))$/;

/** Made anew for each form or page. */
const NOT_A_CREDENTIAL = /(?:csrf|xsrf)/;

/** The holder in a header that is signed anew each time: AWS, Digest, HTTP Signatures. */
const SIGNED = /\b(?:credential|keyid|username)="?([^",/\s]+)/i;

/** @param headers flat list of names and values, as they go upstream. Empty where there is none. */
export function passedCredential(headers: readonly string[]): string {
  let found = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (!NAME.test(name) || NOT_A_CREDENTIAL.test(name)) continue;
    const value = headers[i + 1] as string;
    found += `${name}: ${SIGNED.exec(value)?.[1] ?? value}\n`;
  }
  return found;
}
