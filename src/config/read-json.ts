/**
 * A JSON text as data, with the position of each value and name in it. The YAML parser reads JSON too, but it takes a third of a
 * second for 1,000 services, and a reload would hold the event loop for that long.
 * Invariant: text that the YAML parser would refuse, or read differently, is not read here.
 */

/** The position of a value, as an offset into the text. */
export interface Place {
  readonly start: number;
  /** Of an object, by name. */
  readonly members?: ReadonlyMap<string, { readonly name: number; readonly value: Place }>;
  /** Of a list. */
  readonly items?: readonly Place[];
}

/** Undefined for text that is not JSON, has a name twice or `__proto__` in an object, or is nested deeper than `maxDepth`. */
export function readJson(text: string, maxDepth: number): { readonly data: unknown; readonly root: Place } | undefined {
  try {
    return { data: JSON.parse(text), root: placesIn(text, maxDepth) };
  } catch {
    return undefined;
  }
}

/** @param text that JSON.parse accepts. @throws for a name that is not accepted, or for nesting that is too deep. */
function placesIn(text: string, maxDepth: number): Place {
  let at = 0;

  function readValue(depth: number): Place {
    skipSpace();
    const isNested = text[at] === "{" || text[at] === "[";
    if (isNested && depth === maxDepth) throw new RangeError("nested too deep");
    if (isNested) return text[at] === "{" ? readObject(depth + 1) : readList(depth + 1);
    const start = at;
    if (text[at] === '"') skipString();
    else while (at < text.length && !WORD_ENDS.has(text[at] as string)) at += 1;
    return { start };
  }

  function readObject(depth: number): Place {
    const start = at;
    const members = new Map<string, { name: number; value: Place }>();
    while (hasNext("}")) {
      const name = at;
      skipString();
      const key = JSON.parse(text.slice(name, at)) as string;
      // JSON.parse keeps the last of two members with the same name and reports nothing.
      if (key === "__proto__" || members.has(key)) throw new SyntaxError("a name that is not accepted");
      skipSpace();
      at += 1;
      members.set(key, { name, value: readValue(depth) });
    }
    return { start, members };
  }

  function readList(depth: number): Place {
    const start = at;
    const items: Place[] = [];
    while (hasNext("]")) items.push(readValue(depth));
    return { start, items };
  }

  /** Moves to the next member, past the bracket or comma before it; past the closing bracket if there is no further member. */
  function hasNext(end: string): boolean {
    skipSpace();
    if (text[at] !== end) at += 1;
    skipSpace();
    if (text[at] !== end) return true;
    at += 1;
    return false;
  }

  function skipString(): void {
    at += 1;
    while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    at += 1;
  }

  function skipSpace(): void {
    // JSON.parse has accepted the text, so that no other control characters are between its values.
    while (text.charCodeAt(at) <= SPACE) at += 1;
  }

  return readValue(0);
}

const SPACE = 0x20;
const WORD_ENDS: ReadonlySet<string> = new Set([" ", "\n", "\r", "\t", ",", "]", "}"]);

/** The offset of the value at this path or of its name; of the enclosing value if the path is not in the text. */
export function findPlace(root: Place, path: readonly PropertyKey[], at: "value" | "name"): number {
  let place = root;
  for (const [index, segment] of path.entries()) {
    const member = place.members?.get(String(segment));
    if (member !== undefined && at === "name" && index === path.length - 1) return member.name;
    const next = member?.value ?? place.items?.[Number(segment)];
    if (next === undefined) return place.start;
    place = next;
  }
  return place.start;
}
