/**
 * Writes secrets into the places of a credential, in the encoding of each place.
 * Invariant: a secret never ends its place: in a path, a query and a form it is percent-encoded, and the schema and the checks of
 * the secrets refuse what a header or a subprotocol cannot carry.
 */

import { encodePathText } from "../../config/path-text.ts";
import type { Placement } from "../../config/placements.ts";
import type { SignRule } from "../../config/sign-schema.ts";
import { fillTemplate, type Placeholder, type Template } from "../../config/template.ts";
import type { CredentialPlace, Injection } from "./credential-provider.ts";
import { createHmacSigner } from "./hmac-signer.ts";

/** By name. */
type Secrets = ReadonlyMap<string, string>;

export function describePlaces(placements: readonly Placement[]): CredentialPlace[] {
  return placements.flatMap(({ kind, name, template }): CredentialPlace[] => {
    const { texts, placeholders } = template;
    const text = {
      before: texts[0] as string,
      after: texts[1] ?? "",
      encoding: placeholders[0]?.encoding ?? "plain",
      template,
    };
    if (kind === "path" || kind === "subprotocol") return [{ kind, name: "", ...text }];
    return [{ kind, name, ...text }];
  });
}

/** @param rule of the signature that some of the places have. */
export function fillPlaces(all: readonly Placement[], secrets: Secrets, rule?: SignRule): Injection {
  if (rule === undefined) return fillFixed(all, secrets);
  const placements = all.filter(({ isComputed }) => !isComputed);
  return {
    ...fillFixed(placements, secrets),
    sign: createHmacSigner(
      rule,
      all.filter(({ isComputed }) => isComputed),
      secrets,
    ),
  };
}

function fillFixed(placements: readonly Placement[], secrets: Secrets): Injection {
  const filled = (kind: Placement["kind"], write: (text: string) => string = asIs) =>
    placements
      .filter((placement) => placement.kind === kind)
      .map(({ name, template }) => ({ name, text: fill(kind, template, secrets, write) }));
  return {
    headers: filled("header").flatMap(({ name, text }) => [name, text]),
    query: filled("query", encodeURIComponent)
      .map(({ name, text }) => `${name}=${text}`)
      .join("&"),
    paths: filled("path", encodePathText).map(({ text }) => text),
    form: filled("form", encodeFormText)
      .map(({ name, text }) => `${encodeFormText(name)}=${text}`)
      .join("&"),
    subprotocol: filled("subprotocol")[0]?.text ?? "",
    messages: messageTexts(placements, secrets),
  };
}

function messageTexts(placements: readonly Placement[], secrets: Secrets): Injection["messages"] {
  const names = placements.flatMap(({ kind, template }) =>
    kind === "message" ? template.placeholders.map(({ secret }) => secret) : [],
  );
  return names.length === 0 ? undefined : new Map(names.map((name) => [`{${name}}`, secrets.get(name) ?? ""]));
}

const asIs = (text: string) => text;

/** application/x-www-form-urlencoded, as the URL standard writes it. */
function encodeFormText(text: string): string {
  return new URLSearchParams([["", text]]).toString().slice(1);
}

/** @param encode of the place; a path template's own text is written as it is. */
function fill(kind: Placement["kind"], template: Template, secrets: Secrets, encode: (text: string) => string): string {
  if (kind === "path") return fillTemplate(template, (placeholder) => encode(textOf(placeholder, secrets)));
  const base64 = kind === "subprotocol" ? "base64url" : "base64";
  return encode(fillTemplate(template, (placeholder) => textOf(placeholder, secrets, base64)));
}

/** @param base64 a subprotocol is a token (RFC 6455 section 4.1), which has no `/` and `=`. */
function textOf(
  { secret, encoding, user }: Placeholder,
  secrets: Secrets,
  base64: "base64" | "base64url" = "base64",
): string {
  const text = secrets.get(secret) ?? "";
  if (encoding === "plain") return text;
  if (user === undefined) return Buffer.from(text, "utf8").toString(base64);
  const name = "text" in user ? user.text : (secrets.get(user.secret) ?? "");
  return Buffer.from(`${name}:${text}`, "utf8").toString(base64);
}
