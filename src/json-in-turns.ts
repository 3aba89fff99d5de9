/** The JSON of what may be long, without keeping others waiting for all of it. */
import { isObject } from "./is-object.ts";
import { Turns } from "./turns.ts";

/** Levels whose members are written one by one: an answer, and a list or table in it. */
const LEVELS = 2;

export type Replace = (name: string, value: unknown) => unknown;

/** As `JSON.stringify(value, replace)`, for an object without `toJSON` in these levels. */
export async function jsonInTurns(value: object, replace?: Replace): Promise<string> {
  const turns = new Turns();
  let text = "";
  for (const piece of piecesOf(value, (part) => JSON.stringify(part, replace), LEVELS)) {
    text += piece;
    if (turns.isOver) await turns.next();
  }
  return text;
}

function* piecesOf(value: unknown, write: (part: unknown) => string | undefined, levels: number): Generator<string> {
  const isList = Array.isArray(value);
  if (levels === 0 || !(isList || isObject(value))) {
    yield write(value) ?? "null";
    return;
  }
  let separator = isList ? "[" : "{";
  for (const [name, member] of isList ? value.entries() : Object.entries(value)) {
    if (!isList && (member === undefined || typeof member === "function")) continue;
    yield isList ? separator : `${separator}${JSON.stringify(name)}:`;
    yield* piecesOf(member, write, levels - 1);
    separator = ",";
  }
  yield `${separator === "," ? "" : separator}${isList ? "]" : "}"}`;
}
