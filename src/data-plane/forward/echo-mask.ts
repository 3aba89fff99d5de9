/**
 * Finds an injected secret that an upstream sends back in a header, and masks it.
 * Invariant: the secret is found raw, percent-encoded once or repeatedly, and in base64 at every offset; what is no part of a copy of it
 * stays byte for byte.
 */
import { deriveFrom } from "./live-secrets.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";

export interface EchoMask {
  /** Masks the values of a flat list, in place. */
  maskHeaders(headers: string[]): void;
  mask(text: string): string;
}

/** Bytes. Shorter secrets are not searched, because they also occur by chance. */
export const SHORTEST_SEARCHED_SECRET = 8;
const MASK = "***";
/** `%25252541` is A. */
const ENCODINGS_LIMIT = 6;

/** In all four spellings. */
const HEX_PAIRS: ReadonlyMap<string, string> = new Map(
  Array.from(
    { length: 256 },
    (_, code) => [code.toString(16).padStart(2, "0"), String.fromCharCode(code)] as const,
  ).flatMap(([[high = "", low = ""], character]) =>
    [high, high.toUpperCase()].flatMap((first) =>
      [low, low.toUpperCase()].map((second) => [first + second, character] as const),
    ),
  ),
);

/** Read by the gateway and its clients to find the end of the message. */
const FRAMING = "content-length";

/** @param secrets as they are injected. @returns undefined where there is nothing to search for. */
export function createEchoMask(secrets: readonly string[]): EchoMask | undefined {
  const searched = secrets.filter((secret) => Buffer.byteLength(secret) >= SHORTEST_SEARCHED_SECRET);
  const base64 = new Set(searched.flatMap(base64Forms));
  const needles = new Set([...searched.flatMap(plainForms), ...base64]);
  if (needles.size === 0) return undefined;
  const sources = [...needles].sort((a, b) => b.length - a.length).map(escapePattern);
  const plain = new RegExp(sources.join("|"));
  const anywhere = new RegExp(sources.join("|"), "g");
  const shortest = Math.min(...[...needles].map(({ length }) => length));

  const mask = (text: string): string => {
    if (text.length < shortest || !(plain.test(text) || text.includes("%"))) return text;
    return maskEncoded(text, anywhere, base64);
  };
  return {
    mask,
    maskHeaders(headers) {
      for (let i = 1; i < headers.length; i += 2) {
        const value = headers[i] as string;
        if (value.length < shortest || !(plain.test(value) || value.includes("%"))) continue;
        if (headers[i - 1] !== FRAMING) headers[i] = mask(value);
      }
    },
  };
}

/** Whether a response that would be stored repeats a secret in a header. Links and echoes may; they are masked in what a client gets. */
export function holdsSecret(
  { reason, headers }: { readonly reason: string; readonly headers: ResponseHeaders },
  echoMask: EchoMask | undefined,
): boolean {
  if (echoMask === undefined) return false;
  if (echoMask.mask(reason) !== reason) return true;
  for (const name in headers) {
    for (const value of [headers[name] ?? []].flat()) if (echoMask.mask(value) !== value) return true;
  }
  return false;
}

/** For secrets that change. @param secrets returns the same array until they do. */
export function createLiveEchoMask(secrets: () => readonly string[]): EchoMask {
  const current = deriveFrom(secrets, createEchoMask);
  return {
    mask: (text) => current()?.mask(text) ?? text,
    maskHeaders: (headers) => current()?.maskHeaders(headers),
  };
}

/** The forms of a secret as header values contain them: one character for each byte. */
function plainForms(secret: string): string[] {
  const forms = [Buffer.from(secret, "utf8").toString("latin1"), secret];
  // In quoted strings and JSON, and where a space of a query is `+`.
  forms.push(...forms.map((form) => form.replace(/["\\]/g, "\\$&")), ...forms.map((form) => form.replaceAll(" ", "+")));
  return forms.filter(isHeaderText);
}

function isHeaderText(form: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]+$/.test(form);
}

/** The characters that depend on the secret only, wherever it is in the encoded text: it may follow a user name or a scheme. */
function base64Forms(secret: string): string[] {
  const bytes = Buffer.from(secret, "utf8");
  return [0, 1, 2].flatMap((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
    const bits = (offset + bytes.length) * 8;
    const form = text.slice(Math.ceil((offset * 8) / 6), Math.floor(bits / 6));
    return [form, form.replaceAll("+", "-").replaceAll("/", "_")];
  });
}

/** Decodes level by level until nothing is left to decode, and masks the characters of the original that a copy was decoded from. */
function maskEncoded(text: string, needles: RegExp, base64: ReadonlySet<string>): string {
  const found: Span[] = [];
  let layer: Layer = { text, starts: undefined };
  for (let level = 0; level <= ENCODINGS_LIMIT; level++) {
    const { text: decoded, starts } = layer;
    for (const { 0: copy, index } of decoded.matchAll(needles)) {
      const end = index + copy.length;
      const [from, to] = base64.has(copy) ? withBase64Ends(decoded, index, end) : [index, end];
      found.push(starts === undefined ? [from, to] : [starts[from] as number, starts[to] as number]);
    }
    const next = percentDecoded(layer);
    if (next === undefined) break;
    layer = next;
  }
  return replaceSpans(text, found);
}

type Span = readonly [from: number, to: number];

/** @param starts where each character begins in the original, and the original's length; undefined for the original itself. */
interface Layer {
  readonly text: string;
  readonly starts: readonly number[] | undefined;
}

/** Undefined where nothing is encoded. */
function percentDecoded({ text, starts }: Layer): Layer | undefined {
  if (!/%[0-9a-f]{2}/i.test(text)) return undefined;
  let decoded = "";
  const places: number[] = [];
  for (let i = 0; i < text.length; ) {
    const code = text.charCodeAt(i) === 37 /* % */ ? HEX_PAIRS.get(text.slice(i + 1, i + 3)) : undefined;
    places.push(starts?.[i] ?? i);
    decoded += code ?? text[i];
    i += code === undefined ? 1 : 3;
  }
  places.push(starts?.[text.length] ?? text.length);
  return { text: decoded, starts: places };
}

/** The characters next to a base64 form hold bits of the secret, too. */
function withBase64Ends(text: string, from: number, to: number): Span {
  let end = to;
  if (isBase64(text.charCodeAt(end))) end++;
  while (text.charCodeAt(end) === 61 /* = */ && end - to < 3) end++;
  const start = isBase64(text.charCodeAt(from - 1)) ? from - 1 : from;
  return [start, end];
}

function isBase64(code: number): boolean {
  return /[A-Za-z0-9+/_-]/.test(String.fromCharCode(code));
}

function replaceSpans(text: string, spans: readonly Span[]): string {
  let masked = "";
  let at = 0;
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    if (to <= at) continue;
    if (from >= at) masked += text.slice(at, from) + MASK;
    at = to;
  }
  return masked + text.slice(at);
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
