/**
 * What must fit together in a credential of type `custom`: secrets, templates and places.
 * Invariant: each secret has a place (or messages that receive it) and each place has a secret, and no template can move a secret to another place: a path
 * template stays a path, and no header of framing carries a secret.
 */
import type { z } from "zod";
import { nearestName } from "./nearest-name.ts";
import { COMPUTED, checkSign, namesIn, type SignRule } from "./sign-schema.ts";
import { parseTemplate, type Template } from "./template.ts";

type Templates = Readonly<Record<string, string>>;

export interface CustomAuth {
  readonly secrets?: Readonly<Record<string, unknown>> | undefined;
  readonly headers?: Templates | undefined;
  readonly query?: Templates | undefined;
  readonly path?: string | readonly string[] | undefined;
  readonly form?: Templates | undefined;
  readonly subprotocol?: string | undefined;
  readonly sign?: SignRule | undefined;
  readonly maxSignedBodyBytes?: number | undefined;
}

/** Secrets; and templates of each kind. */
const ENTRIES_LIMIT = 16;

/** Headers of one hop, of a WebSocket's handshake, and those that the gateway writes into every request. */
const NOT_FOR_SECRETS = /^(?:proxy-.*|http2-settings|sec-websocket-.*|x-request-id|traceparent|tracestate)$/i;

const PLACES = "at least one of headers, query, path, form and subprotocol";

export function checkCustomAuth(auth: CustomAuth, refinement: z.RefinementCtx): void {
  const problem = (path: PropertyKey[], message: string, isBudget = false) =>
    refinement.addIssue({ code: "custom", path, message, params: { isBudget } });
  const names = Object.keys(auth.secrets ?? {});
  if (names.length === 0) problem(["secrets"], "an object with at least one secret");
  for (const member of ["secrets", "headers", "query", "form"] as const) {
    const count = Object.keys(auth[member] ?? {}).length;
    if (count > ENTRIES_LIMIT) problem([member], `at most ${ENTRIES_LIMIT} entries, these are ${count}`, true);
  }
  for (const { path, text } of templatesOf(auth)) {
    const template = parseTemplate(text);
    const computed = auth.sign !== undefined && (path[0] === "headers" || path[0] === "query") ? COMPUTED : [];
    const allowed = "allowed" in template ? template.allowed : findProblem(path, template, [...names, ...computed]);
    if (allowed !== undefined) problem([...path], allowed);
  }
  checkSign(auth, refinement);
  if (auth.sign === undefined && auth.maxSignedBodyBytes !== undefined)
    problem([], "maxSignedBodyBytes only with sign");
  for (const name of Object.keys(auth.headers ?? {})) {
    if (NOT_FOR_SECRETS.test(name)) problem(["headers", name], "a header that belongs to the request itself");
  }
}

/** Each secret has a place, for a service whose messages receive none of them. @param at from the root of the service, and @param refinement of the service. */
export function checkCustomPlaces(auth: CustomAuth, at: readonly PropertyKey[], refinement: z.RefinementCtx): void {
  const problem = (path: PropertyKey[], message: string) =>
    refinement.addIssue({ code: "custom", path: [...at, ...path], message });
  const written = templatesOf(auth);
  if (written.length === 0) return problem([], `${PLACES} for type custom`);
  const used = new Set(written.flatMap(({ text }) => secretsOf(parseTemplate(text))));
  if (auth.sign !== undefined) for (const name of [auth.sign.secret, ...namesIn(auth.sign.message)]) used.add(name);
  for (const name of Object.keys(auth.secrets ?? {})) {
    if (!used.has(name)) problem(["secrets", name], `a secret that a template names as {${name}}`);
  }
}

const secretsOf = (template: ReturnType<typeof parseTemplate>) =>
  "allowed" in template ? [] : template.placeholders.map(({ secret }) => secret);

interface WrittenTemplate {
  /** From `auth`. */
  readonly path: readonly [member: string, ...PropertyKey[]];
  readonly text: string;
}

function templatesOf({ headers, query, path, form, subprotocol }: CustomAuth): WrittenTemplate[] {
  const named = (member: string, texts: Templates = {}) =>
    Object.entries(texts).map(([name, text]): WrittenTemplate => ({ path: [member, name], text }));
  const paths: readonly WrittenTemplate[] =
    typeof path === "object"
      ? path.map((text, index): WrittenTemplate => ({ path: ["path", index], text }))
      : path === undefined
        ? []
        : [{ path: ["path"], text: path }];
  return [
    ...named("headers", headers),
    ...named("query", query),
    ...paths,
    ...named("form", form),
    ...(subprotocol === undefined ? [] : [{ path: ["subprotocol"], text: subprotocol } as const]),
  ];
}

/** What is allowed instead; undefined if the template may be used. */
function findProblem(
  [member]: WrittenTemplate["path"],
  { texts, placeholders }: Template,
  names: readonly string[],
): string | undefined {
  const unknown = placeholders.find(({ secret }) => !names.includes(secret));
  if (unknown !== undefined) return knownNames(unknown.secret, names);
  // A fixed parameter or field belongs to some credentials; a fixed header is a member of its own.
  if (placeholders.length === 0 && member === "headers")
    return "a template with a placeholder; setHeaders for a fixed value";
  if (placeholders.length === 0 && member !== "query" && member !== "form") return "a template with a placeholder";
  if (texts.slice(1, -1).some((text) => text === "")) return "text between two placeholders";
  if (member === "headers" && (texts[0]?.startsWith(" ") || texts.at(-1)?.endsWith(" "))) {
    return "a value that neither begins nor ends with a space";
  }
  if (member === "path") return findPathProblem(texts);
  const isToken = texts.every((text) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]*$/.test(text));
  return member === "subprotocol" && !isToken ? "the characters of a token (RFC 9110 section 5.6.2)" : undefined;
}

function knownNames(name: string, names: readonly string[]): string {
  const placeholders = names.map((each) => `{${each}}`).join(", ");
  const near = nearestName(name, names);
  const guess = near === undefined ? "" : `; did you mean {${near}}?`;
  return names.length === 0
    ? "placeholders that secrets defines"
    : `placeholders that secrets defines: ${placeholders}${guess}`;
}

/** @param texts around the placeholders, which stand for one character each in the checks of segments. */
function findPathProblem(texts: readonly string[]): string | undefined {
  const whole = texts.join("x");
  if (!whole.startsWith("/")) return "a path that begins with /";
  // Percent-encoding could hide a question mark or a slash; RFC 3986 section 3.3 has the rest.
  if (!texts.every((text) => /^[A-Za-z0-9._~!$&'()*+,=:@/-]*$/.test(text))) {
    return "a path of letters, digits and -._~!$&'()*+,=:@/ (no ?, #, ;, % or backslash)";
  }
  const segments = whole.split("/").slice(1);
  if (segments.some((segment) => segment === "")) return "a path without empty segments and without a slash at its end";
  return segments.some((segment) => segment === "." || segment === "..") ? "a path without dot segments" : undefined;
}
