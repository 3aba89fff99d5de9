/**
 * Recognizes signed tokens (JWS Compact Serialization, RFC 7515 section 7.1) by their form alone, so that ordinary text costs nothing.
 * Invariant: the time is linear in the length of the text, because every client sends texts.
 */

/** The base64 of `{` with `"` or white space after it. */
const BEGIN = /e(?:y[JA]|w[o0k])/;
const FORM = /^e(?:y[JA]|w[o0k])[\w-]*\.[\w-]+\.[\w-]*$/;
/** Of a header or of claims. */
const SHORTEST_PART = 8;
/** Claims with white space before them have no form of their own: they and a signature have to be long. */
const SHORTEST_OTHER_PART = 20;

/** True for the form of a signed token, whatever it contains. */
export function hasTokenForm(text: string): boolean {
  return text.charCodeAt(0) === 101 && FORM.test(text);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** The parts of a text, in any place, that have the form. A single expression would try each character as a start. */
function spansIn(text: string): readonly Span[] {
  if (!text.includes(".") || !BEGIN.test(text)) return [];
  const spans: Span[] = [];
  const pieces = text.split(/([^\w-]+)/);
  let at = 0;
  for (let i = 0; i + 4 < pieces.length; i += 2) {
    const [header, dot, claims, nextDot, signature] = pieces.slice(i, i + 5) as [
      string,
      string,
      string,
      string,
      string,
    ];
    const offset = dot === "." && nextDot === "." ? header.search(BEGIN) : -1;
    if (offset !== -1 && header.length - offset >= SHORTEST_PART && isRest(claims, signature)) {
      const end = at + header.length + claims.length + signature.length + 2;
      spans.push({ start: at + offset, end });
      // The signature is no header of another token.
      at += header.length + claims.length + 2;
      i += 4;
      at += signature.length + (pieces[i + 1]?.length ?? 0);
    } else at += header.length + dot.length;
  }
  return spans;
}

const isRest = (claims: string, signature: string) =>
  claims.search(BEGIN) === 0 && claims.length >= SHORTEST_PART
    ? signature !== ""
    : claims.length >= SHORTEST_OTHER_PART && signature.length >= SHORTEST_OTHER_PART;

/** The texts with this form that are anywhere in a text. */
export const tokensIn = (text: string) => spansIn(text).map(({ start, end }) => text.slice(start, end));

/** Masks tokens that callers put in a path, a name or an id by mistake. */
export function maskTokens(text: string): string {
  let masked = "";
  let from = 0;
  for (const { start, end } of spansIn(text)) {
    masked += `${text.slice(from, start)}***`;
    from = end;
  }
  return from === 0 ? text : masked + text.slice(from);
}
