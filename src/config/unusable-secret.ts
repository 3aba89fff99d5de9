/** Secrets that their places cannot carry. */
import { entryOfSecret } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { type Placement, placementsOf } from "./placements.ts";
import type { Secret } from "./secret.ts";
import { unusableKey } from "./sign-schema.ts";
import { fillTemplate } from "./template.ts";

interface CheckedSecret {
  readonly text: string;
  readonly name: string;
  readonly auth: AuthDefinition;
}

/** What the secret would have to be, if it cannot be sent in a request; undefined if it can. */
export function unusableSecret(checked: CheckedSecret, ownKeys: readonly Secret[]): string | undefined {
  const { text } = checked;
  const { auth, name } = entryOfSecret(checked.auth, checked.name);
  if (/[\x00-\x1f\x7f]/.test(text)) return "one line without control characters";
  for (const placement of placementsOf(auth)) {
    const allowed = unusableIn(placement, { text, name, auth });
    if (allowed !== undefined) return allowed;
  }
  const key = auth.sign?.secret === name ? unusableKey(text, auth.sign) : undefined;
  if (key !== undefined) return key;
  const parts = textsIn(text, auth);
  return ownKeys.some((key) => parts.includes(key.reveal())) ? NO_OWN_KEY : undefined;
}

/** What is allowed instead of a key of the gateway. */
export const NO_OWN_KEY = "a secret that is not one of the gateway's own keys";

/** The secret, and each part of a pair of Basic: some APIs take a key as the user name. */
export function textsIn(text: string, { type }: AuthDefinition): readonly string[] {
  const colon = type === "basic" ? text.indexOf(":") : -1;
  return colon === -1 ? [text] : [text, text.slice(0, colon), text.slice(colon + 1)];
}

function unusableIn({ kind, template }: Placement, { text, name }: CheckedSecret): string | undefined {
  for (const { secret, encoding, user } of template.placeholders) {
    if (user !== undefined && "secret" in user && user.secret === name && text.includes(":")) {
      return "a user name without a colon (RFC 7617 section 2)";
    }
    if (secret !== name) continue;
    if (encoding === "basic" && user === undefined && !text.includes(":")) return "user:password";
    if (encoding !== "plain") continue;
    if (kind === "header" && /[^\x00-\xff]/.test(text)) return "characters that a header can carry (Latin-1)";
    if (kind === "signature" && /[^\x21-\x7e]/.test(text)) return "visible ASCII characters";
    if (kind === "signature" && name === "accessKeyId" && /[/,=]/.test(text))
      return "an access key id without /, , and =";
    if (kind === "subprotocol" && /[^!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(text)) {
      return "the characters of a token (RFC 9110 section 5.6.2), or a template with |base64";
    }
  }
  if (kind !== "path") return undefined;
  const filled = fillTemplate(template, ({ secret, encoding }) =>
    secret === name && encoding === "plain" ? text.replaceAll("/", "") : "x",
  );
  // `..;x` is `..` to servers that support path parameters.
  const hasDots = filled.split("/").some((segment) => /^\.{1,2}(?:;|$)/.test(segment));
  return hasDots ? "a text that is no dot segment" : undefined;
}
