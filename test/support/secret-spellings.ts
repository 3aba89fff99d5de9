/** Spellings of secrets, and a search for them that is slow and simple. It shares no code with the gateway's. */
import fc from "fast-check";

const ENTITY_NAMES: Record<string, string> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos" };
const CONTROL_LETTERS: Record<string, string> = { "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t" };

/** Each digit in both cases. */
function cases(digits: string): string[] {
  if (digits === "") return [""];
  const [first = "", rest] = [digits[0], cases(digits.slice(1))];
  return [...new Set([first.toLowerCase(), first.toUpperCase()])].flatMap((one) => rest.map((others) => one + others));
}

function repeat(text: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => text.repeat(from + i));
}

/** All spellings of one byte, as latin1. */
export function spellingsOfByte(byte: string): string[] {
  const code = byte.charCodeAt(0);
  const hex = code.toString(16).padStart(2, "0");
  const found = [byte];
  if (byte === " ") found.push("+");
  for (const digits of cases(hex)) {
    for (const more of repeat("25", 0, 5)) found.push(`%${more}${digits}`);
    for (const slashes of repeat("\\", 1, 8)) found.push(`${slashes}u00${digits}`, `${slashes}x${digits}`);
  }
  for (const slashes of repeat("\\", 1, 8)) {
    if ("\"'/".includes(byte)) found.push(slashes + byte);
    if (CONTROL_LETTERS[byte] !== undefined) found.push(slashes + CONTROL_LETTERS[byte]);
  }
  if (byte === "\\") found.push("\\\\", "\\".repeat(4), "\\".repeat(8));
  for (const zeros of ["", "0", "00"]) {
    found.push(`&#${zeros}${code};`);
    for (const digits of cases(code.toString(16))) found.push(`&#x${zeros}${digits};`, `&#X${zeros}${digits};`);
  }
  if (ENTITY_NAMES[byte] !== undefined) found.push(`&${ENTITY_NAMES[byte]};`);
  return found;
}

/** A secret as a list of units; each unit is a list of spellings. */
export type Pattern = readonly (readonly string[])[];

export function patternsOf(secret: string): Pattern[] {
  const bytes = Buffer.from(secret, "utf8").toString("latin1");
  return [[...bytes].map(spellingsOfByte), ...base64Patterns(bytes)];
}

/** For each offset: the characters that some bytes before and after the secret give at each position. */
function base64Patterns(bytes: string): Pattern[] {
  return [0, 1, 2].map((offset) => {
    const encode = (around: number) => {
      const [before, after] = [Buffer.alloc(offset, around), Buffer.alloc(3, around)];
      return Buffer.concat([before, Buffer.from(bytes, "latin1"), after]).toString("base64");
    };
    const from = Math.floor((offset * 8) / 6);
    const to = Math.ceil(((offset + bytes.length) * 8) / 6);
    const all = Array.from({ length: 256 }, (_, around) => encode(around).slice(from, to));
    return Array.from({ length: to - from }, (_, i) =>
      [...new Set(all.map((text) => text[i] as string))].flatMap((character) =>
        (character === "+" ? ["+", "-"] : character === "/" ? ["/", "_"] : [character]).flatMap(spellingsOfByte),
      ),
    );
  });
}

/** Masks every copy of every pattern, also those that overlap. */
export function maskSlowly(text: string, patterns: readonly Pattern[]): string {
  const masked = [...text];
  for (let start = 0; start < text.length; start++) {
    const end = Math.max(...patterns.map((pattern) => endOf(pattern, text, start)));
    for (let i = start; i < end; i++) masked[i] = "*";
  }
  return masked.join("");
}

function endOf(pattern: Pattern, text: string, start: number): number {
  let positions = new Set([start]);
  for (const spellings of pattern) {
    const next = new Set<number>();
    for (const at of positions) for (const one of spellings) if (text.startsWith(one, at)) next.add(at + one.length);
    positions = next;
    if (positions.size === 0) return -1;
  }
  return Math.max(...positions);
}

const printable = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
const anyByte = fc.integer({ min: 0, max: 0x7f }).map((code) => String.fromCharCode(code));
const troublesome = fc.constantFrom(..."%\\\"'/&+ *;u025amp#x");

/** Of ASCII; some repeat themselves, are made of escapes, or hold control characters. */
export const someSecret: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: printable, minLength: 8, maxLength: 40 }),
  fc.string({ unit: anyByte, minLength: 8, maxLength: 20 }),
  fc.string({ unit: troublesome, minLength: 8, maxLength: 12 }),
  fc
    .tuple(fc.string({ unit: printable, minLength: 1, maxLength: 3 }), fc.integer({ min: 8, max: 12 }))
    .map(([unit, n]) => unit.repeat(n)),
);

/** A copy of the secret, with the spelling of each byte chosen at random, or in base64. */
export function someCopyOf(secret: string): fc.Arbitrary<string> {
  const bytes = [...Buffer.from(secret, "utf8").toString("latin1")];
  const mixed = (text: readonly string[]) =>
    fc.tuple(
      ...text.map((byte) =>
        fc.oneof({ weight: 3, arbitrary: fc.constant(byte) }, fc.constantFrom(...spellingsOfByte(byte))),
      ),
    );
  const encoded = fc
    .tuple(
      fc.string({ unit: printable, maxLength: 4 }),
      fc.string({ unit: printable, maxLength: 3 }),
      fc.constantFrom("base64", "base64url"),
    )
    .chain(([before, after, alphabet]) => {
      const plain = Buffer.from(before + bytes.join("") + after, "latin1");
      const text = plain.toString(alphabet as "base64" | "base64url");
      return fc.oneof(fc.constant([text]), mixed([...text]));
    });
  return fc.oneof(fc.constant([bytes.join("")]), mixed(bytes), encoded).map((parts) => parts.join(""));
}
