/**
 * What keeps secrets out of lines and answers: query values never appear, and known secrets are replaced wherever
 * they stand. Invariant: logs are built from an allow-list of fields; this is the second line of defence.
 */

const MASK = "***";

/** `/a?x=1&token=abc` becomes `/a?x=***&token=***`; a parameter without `=` may be a secret itself, so it goes too. */
export function maskQuery(url: string): string {
  const start = url.indexOf("?");
  if (start === -1) return url;
  const masked = url
    .slice(start + 1)
    .split("&")
    .map((parameter) => {
      const equals = parameter.indexOf("=");
      return equals === -1 ? (parameter === "" ? "" : MASK) : `${parameter.slice(0, equals + 1)}${MASK}`;
    });
  return `${url.slice(0, start)}?${masked.join("&")}`;
}

export type SecretMask = (text: string) => string;

/** Replaces every known secret, also percent-encoded or in the base64 that `Authorization: Basic` carries. */
export function createSecretMask(secrets: Iterable<string>): SecretMask {
  const spellings = new Set<string>();
  for (const secret of secrets) {
    if (secret === "") continue;
    spellings.add(secret);
    spellings.add(encodeURIComponent(secret));
    spellings.add(Buffer.from(secret, "latin1").toString("base64"));
  }
  // Longest first, so that a secret which holds another one leaves no rest.
  const ordered = [...spellings].sort((a, b) => b.length - a.length);
  return (text) => ordered.reduce((masked, spelling) => masked.replaceAll(spelling, MASK), text);
}
