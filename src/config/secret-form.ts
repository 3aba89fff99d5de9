/**
 * Secrets that were copied with more than the secret: with the scheme that the gateway adds, or with the quotes of a shell.
 * Invariant: a second scheme is never sent. Quotes may belong to the secret, so they are sent and reported.
 */

import { entryOfSecret } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { placementsOf } from "./placements.ts";

/** `scheme`: it began with a scheme, which is removed. `quoted`: it begins and ends with quotes. */
export type SecretFault = "scheme" | "quoted";

export interface SecretForm {
  /** As it is sent; empty if there was only a scheme. */
  readonly text: string;
  readonly faults: readonly SecretFault[];
}

/** A token has no spaces (RFC 6750 section 2.1), so a scheme before it is one that the gateway adds, or another one's. */
const TOKEN_SCHEME = /^\s*(?:(?:bearer|bot|token)(?:\s+|$))+/i;
const BASIC_SCHEME = /^\s*(?:basic\s+)+(?=[^:]*:)/i;

const QUOTED = /^(["'`])(.*)\1$/s;

/** @param name of the secret in `auth`. */
export function readSecretForm(secret: string, auth: AuthDefinition, name: string): SecretForm {
  let text = secret;
  const entry = entryOfSecret(auth, name);
  for (const scheme of schemesBefore(entry.auth, entry.name)) text = text.replace(scheme, "");
  const faults: SecretFault[] = [];
  if (text !== secret) faults.push("scheme");
  if (isQuoted(text)) faults.push("quoted");
  return { text, faults };
}

/** The schemes that the gateway writes before the secret. Without one, `Bearer …` may be the whole value of its header. */
function schemesBefore(auth: AuthDefinition, name: string): RegExp[] {
  return placementsOf(auth).flatMap(({ kind, template: { texts, placeholders } }) => {
    const [first] = placeholders;
    if (kind !== "header" || first?.secret !== name) return [];
    if (first.encoding === "basic") return first.user === undefined ? [BASIC_SCHEME] : [];
    const before = (texts[0] as string).trim();
    if (first.encoding !== "plain" || before === "") return [];
    if (/^(?:bearer|bot|token)$/i.test(before)) return [TOKEN_SCHEME];
    // Any other prefix may also be how the secret itself begins, as a word may: only a space ends it.
    if (!/[ =:]$/.test(texts[0] as string)) return [];
    const end = /[A-Za-z0-9]$/.test(before) ? "(?:\\s+|$)" : "\\s*";
    return [new RegExp(`^\\s*(?:${escapePattern(before)}${end})+`, "i")];
  });
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

export function isQuoted(text: string): boolean {
  return text.length > 1 && QUOTED.test(text);
}

/** The text between the quotes, or the text itself. */
export function withoutQuotes(text: string): string {
  return QUOTED.exec(text)?.[2] ?? text;
}

/** Completes "the secret of github …". */
export const FAULT_TEXTS: Readonly<Record<SecretFault, string>> = {
  scheme: "already begins with a scheme such as Bearer, Bot or token, which the gateway adds itself and sends once",
  quoted: "begins and ends with quotes, which are sent as a part of it (docker --env-file and Kubernetes keep quotes)",
};
