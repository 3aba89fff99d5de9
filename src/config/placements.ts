/**
 * The places of a request in which a credential's secrets are sent.
 * Invariant: every type of credential is described here by templates, so that injection, stripping and the secret lock agree.
 */
import { firstEntry } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { SIGNATURE_START } from "./aws-signature-names.ts";
import { COMPUTED, namesIn } from "./sign-schema.ts";
import { type Placeholder, parseTemplate, type Template } from "./template.ts";
import { messageRuleOf, type WsDefinition } from "./ws-schema.ts";

export interface Placement {
  /** `message`: a member of a WebSocket's messages. `signature`: a header that the signature of the request is in, or covers. */
  readonly kind: "header" | "query" | "path" | "form" | "subprotocol" | "message" | "signature";
  /** Of the header, parameter or field; the rule of a message; empty for the other kinds. */
  readonly name: string;
  readonly template: Template;
  /** It has something that is computed for each attempt: no caller has its key there. */
  readonly isComputed?: boolean;
}

/**
 * In the order in which they are sent. A list of path templates is in the order of the definition. Those of a pool are the same for
 * all of its credentials. @param ws of the service.
 */
export function placementsOf(auth: AuthDefinition, ws: WsDefinition = false): Placement[] {
  const entry = firstEntry(auth);
  return [...ofRequests(entry), ...ofMessages(entry, ws)];
}

/** Any of the secrets may be named in a message. */
function ofMessages(auth: AuthDefinition, ws: WsDefinition): Placement[] {
  const rule = messageRuleOf(ws);
  if (rule === undefined) return [];
  const names = auth.type === "custom" ? Object.keys(auth.secrets ?? {}) : ["token"];
  return names.map((secret) => ({
    kind: "message",
    name: JSON.stringify(rule),
    template: around("", { secret, encoding: "plain" }),
  }));
}

function ofRequests(auth: AuthDefinition): Placement[] {
  switch (auth.type) {
    // RFC 6750 section 2.1.
    case "bearer":
    case "oauth2":
    case "github-app":
      return [inHeader("Authorization", around("Bearer ", { secret: "token", encoding: "plain" }))];
    // Discord's form for bots.
    case "bot":
      return [inHeader("Authorization", around("Bot ", { secret: "token", encoding: "plain" }))];
    // RFC 7617 section 2.
    case "basic":
      return [inHeader("Authorization", around("Basic ", { secret: "token", encoding: "basic", ...userOf(auth) }))];
    case "api-key": {
      const placeholder = { secret: "token", encoding: "plain" } as const;
      if (auth.headerName !== undefined) return [inHeader(auth.headerName, around(prefixOf(auth.scheme), placeholder))];
      return [{ kind: "query", name: auth.queryParam ?? "", template: around("", placeholder) }];
    }
    case "custom":
      return customPlacements(auth);
    case "aws-sigv4":
      return signaturePlacements(auth);
    // `firstEntry` has replaced it.
    case "pool":
      return [];
  }
}

function customPlacements({ headers, query, path, form, subprotocol, sign }: AuthDefinition): Placement[] {
  const named = (kind: Placement["kind"], texts: Readonly<Record<string, string>> = {}) =>
    Object.entries(texts).map(([name, text]) => {
      const isComputed = sign !== undefined && namesIn(text).some((each) => COMPUTED.includes(each));
      return { kind, name, template: parsed(text), ...(isComputed ? { isComputed } : {}) };
    });
  const unnamed = (kind: Placement["kind"], texts: readonly string[]) =>
    texts.map((text) => ({ kind, name: "", template: parsed(text) }));
  return [
    ...named("header", headers),
    ...named("query", query),
    ...unnamed("path", path === undefined ? [] : [path].flat()),
    ...named("form", form),
    ...unnamed("subprotocol", subprotocol === undefined ? [] : [subprotocol]),
  ];
}

/** The secret access key has no place: it is never sent. */
function signaturePlacements({ sessionTokenEnvVar, sessionTokenFile }: AuthDefinition): Placement[] {
  const inSignature = (name: string, template: Template): Placement => ({ kind: "signature", name, template });
  const computed = { texts: ["…"], placeholders: [] };
  const hasToken = (sessionTokenEnvVar ?? sessionTokenFile) !== undefined;
  const keyId = { secret: "accessKeyId", encoding: "plain" } as const;
  return [
    inSignature("Authorization", { texts: [SIGNATURE_START, "/…"], placeholders: [keyId] }),
    inSignature("X-Amz-Date", computed),
    inSignature("X-Amz-Content-Sha256", computed),
    ...(hasToken
      ? [inSignature("X-Amz-Security-Token", around("", { secret: "sessionToken", encoding: "plain" }))]
      : []),
  ];
}

/** The schema has refused what is no template. */
function parsed(text: string): Template {
  const template = parseTemplate(text);
  return "allowed" in template ? { texts: [text], placeholders: [] } : template;
}

function inHeader(name: string, template: Template): Placement {
  return { kind: "header", name, template };
}

function around(before: string, placeholder: Placeholder): Template {
  return { texts: [before, ""], placeholders: [placeholder] };
}

/** `Token` and `Token ` are the same scheme; `token=` needs no space. */
function prefixOf(scheme: string | undefined): string {
  return scheme === undefined ? "" : /[A-Za-z0-9]$/.test(scheme) ? `${scheme} ` : scheme;
}

function userOf({ username, usernameEnvVar }: AuthDefinition): Pick<Placeholder, "user"> {
  if (username !== undefined) return { user: { text: username } };
  return usernameEnvVar === undefined ? {} : { user: { secret: "username" } };
}
