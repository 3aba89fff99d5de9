/**
 * Makes an OpenAI-shaped stream report its usage: adds `"stream_options": {"include_usage": true}` to the request.
 * Invariant: every other byte of the body stays as it is; and a body that could be read in two ways is not changed.
 */
import { type Member, membersOf, objectStart, type Span } from "../json-span.ts";
import { parseStrictly } from "./json-request.ts";

/** The endpoints that know the option. Other APIs refuse members that they do not know. */
const KNOWS_OPTION = /\/(?:chat\/)?completions\/?$/;

const OPTIONS = "stream_options";
const OPTION = "include_usage";

export function knowsUsageOption(path: string): boolean {
  return KNOWS_OPTION.test(path);
}

/** @returns undefined where nothing is to change: the request streams nothing, or asks for its usage already. */
export function withUsage(body: Buffer): Buffer | undefined {
  const open = parseStrictly(body) === undefined ? undefined : objectStart(body);
  if (open === undefined) return undefined;
  const members = [...membersOf(body, open)];
  const stream = only(members, "stream");
  const options = only(members, OPTIONS);
  if (stream === "several" || options === "several" || stream === "none") return undefined;
  if (textOf(body, stream.value) !== "true") return undefined;
  if (options === "none") return insert(body, open, `"${OPTIONS}":{"${OPTION}":true}`);
  if (textOf(body, options.value) === "null") return replace(body, options.value, `{"${OPTION}":true}`);
  const inner = objectStart(body, options.value.start);
  if (inner === undefined) return undefined;
  const option = only([...membersOf(body, inner)], OPTION);
  if (option === "several") return undefined;
  if (option === "none") return insert(body, inner, `"${OPTION}":true`);
  return textOf(body, option.value) === "true" ? undefined : replace(body, option.value, "true");
}

function only(members: readonly Member[], name: string): Member | "none" | "several" {
  const found = members.filter((member) => member.name.toLowerCase() === name);
  if (found.length === 0) return "none";
  return found.length > 1 || found[0]?.name !== name ? "several" : found[0];
}

const textOf = (body: Buffer, { start, end }: Span) => body.toString("utf8", start, end);

/** As the first member of the object. */
function insert(body: Buffer, open: number, member: string): Buffer {
  const isEmpty = membersOf(body, open).next().done;
  return replace(body, { start: open + 1, end: open + 1 }, isEmpty ? member : `${member},`);
}

function replace(body: Buffer, { start, end }: Span, text: string): Buffer {
  return Buffer.concat([body.subarray(0, start), Buffer.from(text), body.subarray(end)]);
}
