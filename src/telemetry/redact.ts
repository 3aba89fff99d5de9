/**
 * Keeps secrets out of log lines and responses: query values are masked, and known secrets are replaced everywhere.
 * Invariant: this is the second line of defense: log lines are built from an allow-list of fields.
 */
import { encodePathText } from "../config/path-text.ts";
import { KnownTexts } from "./known-texts.ts";
import { findBasePathSecrets, findPathSecrets, type SecretSpan } from "./path-secrets.ts";

const MASK = "***";

/** For a log: the URL of a request without the values of its query, and without the token of a webhook in its path. */
export function maskUrl(url: string): string {
  return maskQuery(withoutSpans(url, findPathSecrets(url)));
}

/** Each URL, and each path with a slash, in a text. User info of a URL is masked too. */
export function maskUrls(text: string): string {
  return text.replace(/\S+/g, (word) =>
    /[/=]/.test(word) ? maskUrl(word.replace(/:\/\/[^/@]+@/, `://${MASK}@`)) : word,
  );
}

/** A base URL as an operator may see it: without the secrets that its path seems to contain. */
export function maskBaseUrl(url: string): string {
  return withoutSpans(url, findBasePathSecrets(url));
}

/** The secrets that the path of a base URL seems to contain, as they are written there. */
export function secretsInBaseUrl(url: string): string[] {
  return findBasePathSecrets(url).map(([start, end]) => url.slice(start, end));
}

function withoutSpans(text: string, spans: readonly SecretSpan[]): string {
  if (spans.length === 0) return text;
  let masked = "";
  let from = 0;
  for (const [start, end] of spans) {
    masked += text.slice(from, start) + MASK;
    from = end;
  }
  return masked + text.slice(from);
}

/** `/a?x=1&token=abc` becomes `/a?x=***&token=***`; a parameter without `=` may be a secret itself, so it is masked too. */
export function maskQuery(url: string): string {
  let at = url.indexOf("?");
  if (at === -1) return url;
  let masked = url.slice(0, at + 1);
  // By index rather than by split: this runs for every request with a query.
  while (at < url.length) {
    const start = at + 1;
    const ampersand = url.indexOf("&", start);
    const end = ampersand === -1 ? url.length : ampersand;
    const equals = url.indexOf("=", start);
    if (equals !== -1 && equals < end) masked += url.slice(start, equals + 1) + MASK;
    else if (end > start) masked += MASK;
    if (ampersand !== -1) masked += "&";
    at = end;
  }
  return masked;
}

export type SecretMask = (text: string) => string;

/** Replaces every known secret, also percent-encoded, escaped for JSON, or in the base64 of `Authorization: Basic`. */
export function createSecretMask(secrets: Iterable<string>): SecretMask {
  const { mask, add } = createGrowingMask();
  add(secrets);
  return mask;
}

/** A copy of a JSON value with every text in it masked: text by text, so that the result is still valid JSON. */
export function maskTexts<T>(value: T, mask: SecretMask): T {
  return JSON.parse(JSON.stringify(value, textsMasked(mask)));
}

/** For JSON.stringify. */
export const textsMasked = (mask: SecretMask) => (_: string, each: unknown) =>
  typeof each === "string" ? mask(each) : each;

export interface GrowingMask {
  readonly mask: SecretMask;
  /** For good. */
  add(secrets: Iterable<string>): void;
  /** Instead of the secrets that were kept for the same owner before. */
  keep(owner: object, secrets: readonly string[]): void;
}

/** A mask whose secrets can be added and exchanged. The time for a text does not depend on the number of secrets. */
export function createGrowingMask(): GrowingMask {
  const known = new KnownTexts();
  const secrets = new Set<string>();
  const kept = new WeakMap<object, readonly string[]>();
  /** Two secrets may have a spelling in common. */
  const holders = new Map<string, number>();
  const hold = (spelling: string) => {
    holders.set(spelling, (holders.get(spelling) ?? 0) + 1);
    known.add(spelling);
  };
  const release = (spelling: string) => {
    const others = (holders.get(spelling) ?? 1) - 1;
    if (others > 0) return void holders.set(spelling, others);
    holders.delete(spelling);
    known.remove(spelling);
  };
  return {
    mask: (text) => withoutSpans(text, known.find(text)),
    add(more) {
      for (const secret of more) {
        if (secret === "" || secrets.has(secret)) continue;
        secrets.add(secret);
        for (const spelling of spellingsOf(secret)) hold(spelling);
      }
    },
    keep(owner, current) {
      const before = kept.get(owner) ?? [];
      const now = [...new Set(current)];
      kept.set(owner, now);
      const added = now.filter((secret) => !before.includes(secret));
      const removed = before.filter((secret) => !now.includes(secret));
      for (const spelling of added.flatMap(spellingsOf)) hold(spelling);
      for (const spelling of removed.flatMap(spellingsOf)) release(spelling);
    },
  };
}

function spellingsOf(secret: string): string[] {
  const encoded = encodeURIComponent(secret);
  const base64 = (["latin1", "utf8"] as const).map((charset) => Buffer.from(secret, charset).toString("base64"));
  return [
    secret,
    encoded,
    // As it is inserted into a path and written into a form.
    encodePathText(secret),
    new URLSearchParams([["", secret]]).toString().slice(1),
    encoded.replace(/%../g, (octet) => octet.toLowerCase()),
    JSON.stringify(secret).slice(1, -1),
    ...base64,
    // As a subprotocol, in a query and in a path.
    ...base64.flatMap((text) => [
      text.replace(/=+$/, "").replaceAll("+", "-").replaceAll("/", "_"),
      encodeURIComponent(text),
      encodePathText(text),
    ]),
  ];
}
