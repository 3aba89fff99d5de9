/**
 * What keeps secrets out of lines and answers: query values never appear, and known secrets are replaced wherever
 * they stand. Invariant: logs are built from an allow-list of fields; this is the second line of defence.
 */

const MASK = "***";

/** `/a?x=1&token=abc` becomes `/a?x=***&token=***`; a parameter without `=` may be a secret itself, so it goes too. */
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

/** Replaces every known secret, also percent-encoded, as JSON escapes it, or in the base64 that `Authorization: Basic` carries. */
export function createSecretMask(secrets: Iterable<string>): SecretMask {
  const spellings = new Set<string>();
  for (const secret of secrets) {
    if (secret === "") continue;
    const encoded = encodeURIComponent(secret);
    spellings.add(secret);
    spellings.add(encoded);
    spellings.add(encoded.replace(/%../g, (octet) => octet.toLowerCase()));
    spellings.add(JSON.stringify(secret).slice(1, -1));
    for (const charset of ["latin1", "utf8"] as const) spellings.add(Buffer.from(secret, charset).toString("base64"));
  }
  // Longest first, so that a secret which holds another one leaves no rest.
  const ordered = [...spellings].sort((a, b) => b.length - a.length);
  const shortest = ordered.at(-1)?.length ?? Number.POSITIVE_INFINITY;
  return (text) => {
    // Most texts are paths: many are shorter than any secret.
    if (text.length < shortest) return text;
    return ordered.reduce((masked, spelling) => masked.replaceAll(spelling, MASK), text);
  };
}

/** A copy of a JSON value with every text in it masked: text by text, so that no secret can break the form. */
export function maskTexts<T>(value: T, mask: SecretMask): T {
  return JSON.parse(JSON.stringify(value, (_, each) => (typeof each === "string" ? mask(each) : each)));
}

export interface GrowingMask {
  readonly mask: SecretMask;
  add(secrets: readonly string[]): void;
}

/** A mask that learns: nothing that was ever a secret is taken out of it. */
export function createGrowingMask(): GrowingMask {
  const secrets = new Set<string>();
  let current: SecretMask = (text) => text;
  return {
    mask: (text) => current(text),
    add(more) {
      const { size } = secrets;
      for (const secret of more) secrets.add(secret);
      if (secrets.size > size) current = createSecretMask(secrets);
    },
  };
}
