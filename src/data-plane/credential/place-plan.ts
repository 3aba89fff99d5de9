/**
 * The rare places of a credential: a path, fields of a form, a WebSocket subprotocol; and what of a request stands there.
 * Invariant: a client's own text is replaced only where a placeholder holds a key of the gateway or the word `placeholder`, so that
 * no path of the upstream is taken for one: `/bottleneck` is not `/bot{token}`.
 */
import { cutProtocols, type IsKey } from "../../callers/carried-keys.ts";
import { readTemplate, type Template } from "../../config/template.ts";
import type { CredentialPlace } from "./credential-provider.ts";
import type { OfferedSubprotocols } from "./injectable-request.ts";

export interface PlacePlan {
  readonly paths: readonly Template[];
  /** The texts around each placeholder of the paths, within its segment. */
  readonly segments: readonly SegmentText[];
  /** Names of fields; empty for no form. */
  readonly formFields: readonly string[];
  readonly subprotocol: Template | undefined;
}

interface SegmentText {
  readonly before: string;
  readonly after: string;
}

/** A client's text for a place that the gateway fills. */
export const PLACEHOLDER_WORD = "placeholder";

/** Undefined for a credential in headers and the query. */
export function createPlacePlan(places: readonly CredentialPlace[]): PlacePlan | undefined {
  const paths = places.filter(({ kind }) => kind === "path").map(({ template }) => template);
  const formFields = places.filter(({ kind }) => kind === "form").map(({ name }) => name);
  const subprotocol = places.find(({ kind }) => kind === "subprotocol")?.template;
  const isEmpty = paths.length === 0 && formFields.length === 0 && subprotocol === undefined;
  return isEmpty ? undefined : { paths, segments: paths.flatMap(segmentTexts), formFields, subprotocol };
}

function segmentTexts({ texts, placeholders }: Template): SegmentText[] {
  return placeholders.map((_, at) => ({
    before: texts[at]?.split("/").at(-1) ?? "",
    after: texts[at + 1]?.split("/", 1)[0] ?? "",
  }));
}

/** Also true for a key with the text of a path template around it, anywhere in a path: `bot<key>` in `/file/bot<key>/x`. */
export function findsPlacedKeys({ segments }: PlacePlan, isKey: IsKey): IsKey {
  const isPlaced = (text: string) =>
    isKey(text) ||
    segments.some(
      ({ before, after }) =>
        text.startsWith(before) && text.endsWith(after) && isKey(text.slice(before.length, text.length - after.length)),
    );
  return isKey.isWithin === undefined ? isPlaced : Object.assign(isPlaced, { isWithin: isKey.isWithin });
}

/** Whether every request has an inserted path. */
export function insertsPath(plan: PlacePlan | undefined): boolean {
  return plan !== undefined && plan.paths.length > 0;
}

/** The start of a path that the gateway replaces, and the template that it matches; undefined for none. @param path raw. */
export function findOwnPath(
  { paths }: PlacePlan,
  path: string,
  isKey: IsKey,
): { readonly length: number; readonly template: number } | undefined {
  for (const [index, template] of paths.entries()) {
    const length = startOf(path, segmentsOf(template));
    const texts = length === 0 ? undefined : readTemplate(template, path.slice(0, length));
    if (texts === undefined || texts.length === 0) continue;
    const isOwn = texts.every((text, at) => isPlaceholder(text, template.placeholders[at]?.encoding, isKey));
    if (isOwn) return { length, template: index };
  }
  return undefined;
}

function segmentsOf({ texts }: Template): number {
  return texts.join("").split("/").length - 1;
}

/** The length of the first segments; 0 for a path with fewer. */
function startOf(path: string, segments: number): number {
  let at = 0;
  for (let i = 0; i < segments; i++) {
    if (path.charCodeAt(at) !== 47 /* / */) return 0;
    const next = path.indexOf("/", at + 1);
    at = next === -1 ? path.length : next;
  }
  return at;
}

function isPlaceholder(text: string, encoding: string | undefined, isKey: IsKey): boolean {
  const decoded = percentDecoded(text);
  if (decoded === PLACEHOLDER_WORD || isKey(decoded)) return true;
  return encoding === "base64" && isKey(Buffer.from(decoded, "base64").toString("latin1"));
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param header Sec-WebSocket-Protocol of the client: a list of tokens (RFC 6455 section 11.3.4). */
export function readSubprotocols(template: Template, header: string | undefined, isKey: IsKey): OfferedSubprotocols {
  const items = (header ?? "").split(",").flatMap((item) => item.trim() || []);
  const hasText = template.texts.some((text) => text !== "");
  const isOwn = (item: string) => {
    const texts = readTemplate(template, item);
    // A template of a placeholder alone matches every subprotocol.
    return texts !== undefined && (hasText || texts.every((text) => isPlaceholder(text, "base64", isKey)));
  };
  const kept: string[] = [];
  let at: number | undefined;
  let replaced: string | undefined;
  for (const item of items) {
    if (isOwn(item)) {
      at ??= kept.length;
      replaced ??= item;
    } else if (cutProtocols(item, isKey) !== undefined) kept.push(item);
  }
  return { kept, at: at ?? kept.length, replaced, injected: "" };
}
