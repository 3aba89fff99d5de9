/**
 * Templates of places that carry secrets: text with placeholders `{name}` and `{name|base64}`.
 * Invariant: a template always has one text more than it has placeholders, so that it is filled and read without exceptions.
 */

/** `basic`: the base64 of `user:password` (RFC 7617 section 2). */
export type SecretEncoding = "plain" | "base64" | "basic";

export interface Placeholder {
  /** The name of the secret. */
  readonly secret: string;
  readonly encoding: SecretEncoding;
  /** `basic`: what comes before the colon, if the secret is only the password. */
  readonly user?: { readonly text: string } | { readonly secret: string };
}

export interface Template {
  /** Before, between and after the placeholders. */
  readonly texts: readonly string[];
  readonly placeholders: readonly Placeholder[];
}

const PLACEHOLDER = /\{([^{}]*)\}/g;

/** @returns the template, or what is wrong with the text as "allowed: …" completes it. */
export function parseTemplate(text: string): Template | { readonly allowed: string } {
  const texts: string[] = [];
  const placeholders: Placeholder[] = [];
  let from = 0;
  for (const match of text.matchAll(PLACEHOLDER)) {
    const [secret = "", filter, ...rest] = (match[1] as string).split("|");
    if (rest.length > 0 || (filter !== undefined && filter !== "base64")) {
      return { allowed: "placeholders of the form {name} or {name|base64}" };
    }
    texts.push(text.slice(from, match.index));
    placeholders.push({ secret, encoding: filter === undefined ? "plain" : "base64" });
    from = match.index + match[0].length;
  }
  texts.push(text.slice(from));
  if (texts.some((each) => /[{}]/.test(each)))
    return { allowed: "braces only around the name of a secret, as in {token}" };
  return { texts, placeholders };
}

/** As it was written in the definition. */
export function writeTemplate(template: Template): string {
  return fillTemplate(template, ({ secret, encoding }) =>
    encoding === "plain" ? `{${secret}}` : `{${secret}|${encoding}}`,
  );
}

/** @param write gives the text of one placeholder. */
export function fillTemplate(
  { texts, placeholders }: Template,
  write: (placeholder: Placeholder, index: number) => string,
): string {
  let filled = texts[0] as string;
  for (const [index, placeholder] of placeholders.entries()) filled += write(placeholder, index) + texts[index + 1];
  return filled;
}

/** The texts that are in the places of the placeholders, encoded as they are; undefined for a text of another form. */
export function readTemplate({ texts, placeholders }: Template, text: string): readonly string[] | undefined {
  const [start, ...rest] = texts as [string, ...string[]];
  if (!text.startsWith(start)) return undefined;
  const found: string[] = [];
  let from = start.length;
  for (const [index, next] of rest.entries()) {
    const isLast = index === placeholders.length - 1;
    const to = isLast ? text.length - next.length : text.indexOf(next, from);
    if (to < from || (isLast && !text.endsWith(next))) return undefined;
    found.push(text.slice(from, to));
    from = to + next.length;
  }
  return from === text.length ? found : undefined;
}
