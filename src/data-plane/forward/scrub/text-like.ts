/**
 * Which bodies are searched for secrets, by their content type.
 * Invariant: what has no type, or none that is well-formed, counts as text: a client may read it as text.
 */

/** Words of a subtype that is text: `vnd.api+json`, `x-ndjson`, `svg+xml`, `x-www-form-urlencoded`. */
const TEXT_WORDS: ReadonlySet<string> = new Set([
  ...[
    "json",
    "ndjson",
    "jsonl",
    "jsonlines",
    "json5",
    "xml",
    "yaml",
    "yml",
    "toml",
    "csv",
    "graphql",
    "sql",
    "html",
    "xhtml",
  ],
  ...[
    "javascript",
    "ecmascript",
    "typescript",
    "urlencoded",
    "http",
    "jwt",
    "jose",
    "sdp",
    "sh",
    "php",
    "rtf",
    "tex",
    "postscript",
  ],
  ...["mpegurl", "pem", "pkcs8", "text", "wasm-text"],
]);

const ONE_TYPE = /^([a-z]+)\/([\w!#$&^.+-]+)[\t ]*(?:;|$)/i;

export function isTextLike(contentType: string | string[] | undefined): boolean {
  if (typeof contentType !== "string") return true;
  const [, type = "", subtype = ""] = ONE_TYPE.exec(contentType.trim()) ?? [];
  if (type === "" || contentType.includes(",")) return true;
  if (/^(?:text|multipart|message)$/i.test(type)) return true;
  return subtype
    .toLowerCase()
    .split(/[.+-]/)
    .some((word) => TEXT_WORDS.has(word));
}

/** Encodings of characters in which the bytes of ASCII text are others than in ASCII. */
const NOT_ASCII = /^(?:utf-?(?:7|16|32)|ucs-?[24]|iso-10646|csucs|csunicode|unicode|utf-?ebcdic|ebcdic|cp037|ibm)/i;

/** @returns the charset of a text that cannot be searched: of its name, what is known. */
export function unsearchableCharset(contentType: string | string[] | undefined): string | undefined {
  for (const value of [contentType ?? ""].flat()) {
    for (const [, quoted, token] of value.matchAll(/;[\t ]*charset[\t ]*=[\t ]*(?:"([^"]*)"|([^\s;,"]+))/gi)) {
      const [charset] = NOT_ASCII.exec(quoted ?? token ?? "") ?? [];
      if (charset !== undefined) return charset;
    }
  }
  return undefined;
}
