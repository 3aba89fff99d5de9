/**
 * Where each value and name of a JSON text stands, for problems and warnings: of a file with thousands of services each may have one.
 * Invariant: reads only what JSON.parse has read, not nested deep and without a name twice in an object.
 */

export interface Place {
  /** Of its first character. */
  readonly start: number;
  /** Of an object, by name. */
  readonly members?: ReadonlyMap<string, { readonly name: number; readonly value: Place }>;
  /** Of a list. */
  readonly items?: readonly Place[];
}

export function placesInJson(text: string): Place {
  let at = 0;

  function readValue(): Place {
    skipSpace();
    if (text[at] === "{") return readObject();
    if (text[at] === "[") return readList();
    const start = at;
    if (text[at] === '"') skipString();
    else while (at < text.length && !ENDS_WORD.has(text[at] as string)) at += 1;
    return { start };
  }

  function readObject(): Place {
    const start = at;
    const members = new Map<string, { name: number; value: Place }>();
    while (hasNext("}")) {
      const name = at;
      skipString();
      const key = JSON.parse(text.slice(name, at)) as string;
      skipSpace();
      at += 1;
      members.set(key, { name, value: readValue() });
    }
    return { start, members };
  }

  function readList(): Place {
    const start = at;
    const items: Place[] = [];
    while (hasNext("]")) items.push(readValue());
    return { start, items };
  }

  /** Goes to the next member, over the bracket or comma before it; over the end where there is none. */
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
    while (SPACE.has(text[at] as string)) at += 1;
  }

  return readValue();
}

const SPACE: ReadonlySet<string> = new Set([" ", "\n", "\r", "\t"]);
const ENDS_WORD: ReadonlySet<string> = new Set([...SPACE, ",", "]", "}"]);

/** Of the value at this path or of its name; of what encloses it, where it is not in the text. */
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
