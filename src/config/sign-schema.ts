/**
 * The member `sign` of a `custom` credential: an HMAC over parts of the request (RFC 2104), and its time.
 * Invariant: the signing secret is never sent; the placeholders `{signature}` and `{timestamp}` stand for what is computed.
 */
import { z } from "zod";
import { parseTemplate } from "./template.ts";

/** Placeholders in `headers` and `query` for what is computed for each attempt. */
export const COMPUTED: readonly string[] = ["signature", "timestamp"];

/** Placeholders in `message`, beside the names of secrets. */
const PARTS: readonly string[] = ["timestamp", "method", "path", "query", "target", "body"];

export const signSchema = z.strictObject({
  secret: z.string().max(64).describe("the name of the secret that is the key; it is not sent"),
  message: z
    .string()
    .min(1)
    .max(1_024)
    .regex(/^[\n\x20-\x7e]+$/, "printable ASCII characters and line breaks")
    .describe(
      "what is signed: `{timestamp}`, `{method}`, `{path}`, `{query}`, `{target}` (path and query), `{body}` and names of secrets",
    ),
  algorithm: z.enum(["sha256", "sha384", "sha512"]).default("sha256").describe("the hash of the HMAC"),
  encoding: z.enum(["hex", "base64"]).default("hex").describe("of the signature"),
  secretEncoding: z.enum(["text", "base64", "hex"]).default("text").describe("how the key is written in the secret"),
  timestamp: z
    .enum(["seconds", "milliseconds", "iso"])
    .default("milliseconds")
    .describe("the form of `{timestamp}`; `iso` is `2026-11-30T12:00:00.000Z`"),
});

export type SignRule = z.output<typeof signSchema>;

/** Both alphabets, with or without the padding (RFC 4648 sections 4, 5 and 8). */
const KEY_FORMS = {
  text: /^/,
  base64: /^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{4}|[A-Za-z0-9+/_-]{3}=?|[A-Za-z0-9+/_-]{2}(?:==)?)$/,
  hex: /^(?:[0-9A-Fa-f]{2})+$/,
} as const;

/** What the key of the HMAC has to be, if it is not that: Node decodes the start of another text, which may be empty. */
export function unusableKey(text: string, { secretEncoding }: SignRule): string | undefined {
  return KEY_FORMS[secretEncoding].test(text) ? undefined : `${secretEncoding}, as sign.secretEncoding says`;
}

interface SignedAuth {
  readonly sign?: SignRule | undefined;
  readonly secrets?: Readonly<Record<string, unknown>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly query?: Readonly<Record<string, string>> | undefined;
}

/** @param refinement of `auth`. */
export function checkSign(
  { sign, secrets = {}, headers = {}, query = {} }: SignedAuth,
  refinement: z.RefinementCtx,
): void {
  if (sign === undefined) return;
  const problem = (path: PropertyKey[], message: string) => refinement.addIssue({ code: "custom", path, message });
  const names = Object.keys(secrets);
  for (const name of new Set([...COMPUTED, ...PARTS])) {
    if (names.includes(name)) problem(["secrets", name], `another name: with sign, {${name}} is computed`);
  }
  if (!names.includes(sign.secret)) problem(["sign", "secret"], "the name of a secret that secrets defines");
  for (const name of namesIn(sign.message)) {
    if (![...PARTS, ...names].includes(name)) {
      problem(["sign", "message"], `placeholders ${[...PARTS, ...names].map((each) => `{${each}}`).join(", ")}`);
    }
  }
  const templates = [...Object.values(headers), ...Object.values(query)];
  if (!templates.flatMap(namesIn).includes("signature")) {
    problem(["sign"], "a template of headers or query with {signature}");
  }
  const encoded = [sign.message, ...templates].flatMap(encodedNamesIn).find((name) => !names.includes(name));
  if (encoded !== undefined) {
    problem(["sign"], `{${encoded}} without |base64, which is for secrets; encoding is that of the signature`);
  }
}

/** Placeholders with `|base64`. */
function encodedNamesIn(text: string): string[] {
  const template = parseTemplate(text);
  if ("allowed" in template) return [];
  return template.placeholders.flatMap(({ secret, encoding }) => (encoding === "base64" ? [secret] : []));
}

/** The names of the placeholders of a template. */
export function namesIn(text: string): string[] {
  const template = parseTemplate(text);
  return "allowed" in template ? [template.allowed] : template.placeholders.map(({ secret }) => secret);
}
