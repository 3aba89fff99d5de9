/**
 * Makes an OpenAI-shaped stream report its usage: adds `"stream_options": {"include_usage": true}` to the request.
 * Invariant: every other byte of the body stays as it is; and a body that could be read in two ways asks for it in both.
 */
import { type Member, membersOf, objectStart, type Span } from "../json-span.ts";
import { parseStrictly } from "./json-request.ts";

/** The endpoints that know the option. Other APIs refuse members that they do not know. */
const KNOWS_OPTION = /\/(?:chat\/)?completions\/?$/;

const MEMBERS_LIMIT = 1_000;

const OPTIONS = "stream_options";
const OPTION = "include_usage";

export function knowsUsageOption(path: string): boolean {
  try {
    return KNOWS_OPTION.test(decodeURIComponent(path));
  } catch {
    return false;
  }
}

/** @returns undefined where nothing is to change: the request streams nothing, or asks for its usage already. */
export function withUsage(body: Buffer): Buffer | undefined {
  const open = parseStrictly(body) === undefined ? undefined : objectStart(body);
  if (open === undefined) return undefined;
  const members = firstMembers(body, open);
  if (!named(members, "stream").some(({ value }) => textOf(body, value) === "true")) return undefined;
  const options = named(members, OPTIONS);
  const edits =
    options.length === 0
      ? [insertion(body, open, `"${OPTIONS}":{"${OPTION}":true}`)]
      : options.flatMap(({ value }) => editsOf(body, value));
  return edits.length === 0 ? undefined : apply(body, edits);
}

interface Edit extends Span {
  readonly text: string;
}

/** Of the options: each member that an upstream may read is set. */
function editsOf(body: Buffer, value: Span): Edit[] {
  if (textOf(body, value) === "null") return [{ ...value, text: `{"${OPTION}":true}` }];
  const inner = objectStart(body, value.start);
  if (inner === undefined) return [];
  const found = named(firstMembers(body, inner), OPTION);
  if (found.length === 0) return [insertion(body, inner, `"${OPTION}":true`)];
  return found.flatMap(({ value }) => (textOf(body, value) === "true" ? [] : [{ ...value, text: "true" }]));
}

/** Beyond them nothing is looked for: it would hold up other requests. */
function firstMembers(body: Buffer, open: number): readonly Member[] {
  const members: Member[] = [];
  for (const member of membersOf(body, open)) {
    if (members.push(member) === MEMBERS_LIMIT) break;
  }
  return members;
}

/** All members that some parser takes for this one: repeated, or in another case. */
function named(members: readonly Member[], name: string): readonly Member[] {
  return members.filter((member) => member.name.toLowerCase() === name);
}

const textOf = (body: Buffer, { start, end }: Span) => body.toString("utf8", start, end);

/** As the first member of the object. */
function insertion(body: Buffer, open: number, member: string): Edit {
  const isEmpty = membersOf(body, open).next().done;
  return { start: open + 1, end: open + 1, text: isEmpty ? member : `${member},` };
}

/** @param edits in the order of the body. */
function apply(body: Buffer, edits: readonly Edit[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of edits) {
    parts.push(body.subarray(at, start), Buffer.from(text));
    at = end;
  }
  return Buffer.concat([...parts, body.subarray(at)]);
}
