/**
 * Whether a key may ask for the model that a request names.
 * Invariant: a request that makes a model work is forwarded only if every place that may name the model was read without doubt, and every
 * name in them is allowed.
 */
import { matchesModel } from "../../callers/model-patterns.ts";
import { GatewayError } from "../../errors.ts";
import { membersOf, objectStart } from "../json-span.ts";
import { parseStrictly } from "./json-request.ts";

/** The patterns of each key that restricts the request. */
export type ModelRules = readonly (readonly string[])[];

/** Segments after which a path names a model: OpenAI, Azure OpenAI, Gemini, Amazon Bedrock. */
const NAMES_MODEL: ReadonlySet<string> = new Set(["models", "model", "deployments", "engines", "tunedmodels"]);

/** Characters of a name that a message shows. */
const SHOWN_LIMIT = 80;

/** Names in a list, as routers of models accept it for their alternatives. */
const LIST_LIMIT = 50;

/** Members of a body. Requests have a few dozen; to look at a hundred thousand would hold up others. */
const MEMBERS_LIMIT = 1_000;

/** What the head of a request names. */
export interface NamedModels {
  readonly names: readonly string[];
  /** Servers may read a part in different ways. */
  readonly isUnclear: boolean;
}

/** @param path as it is sent to the upstream. */
export function modelsInTarget(path: string, query = ""): NamedModels {
  const names: string[] = [];
  let isUnclear = false;
  let isNext = false;
  for (const segment of path.split("/")) {
    const decoded = decode(segment);
    isUnclear ||= decoded === undefined || isAmbiguous(decoded);
    const text = (decoded ?? segment).split(";", 1)[0] as string;
    // Some servers join slashes.
    if (text === "") continue;
    // `gemini-pro:generateContent`, and Bedrock's `anthropic.claude-v2:0`: either reading may be the name.
    if (isNext) names.push(text.replace(/:[A-Za-z]\w*$/, ""));
    isNext = namesModel(text);
  }
  // Some servers also separate parameters by `;`.
  const readings = query.includes(";") ? [query, query.replaceAll(";", "&")] : [query];
  for (const reading of readings) {
    for (const [name, value] of new URLSearchParams(reading)) if (isModelParameter(name)) names.push(value);
  }
  return { names, isUnclear };
}

const namesModel = (segment: string) => NAMES_MODEL.has(segment.trim().toLowerCase());

/** Some servers decode twice, and some decode the path before they split it, also at `\`. */
function isAmbiguous(decoded: string): boolean {
  if (/%[0-9A-Fa-f]{2}|[?#]/.test(decoded)) return true;
  return /[/\\]/.test(decoded) && decoded.split(/[/\\]/).some((part) => namesModel(part.split(";", 1)[0] as string));
}

/** Some parsers ignore the case of names (Go's encoding/json, with Unicode's folding: `ſ` is `s`), and some end a name at NUL. */
const isModelName = (name: string) => foldName(name) === "model";
const foldName = (name: string) => name.toUpperCase().toLowerCase().split("\0", 1)[0];

/** Also `model[]` and `model[0]`, which some parsers take for a list, and a name after white space, which some drop. */
const isModelParameter = (name: string) => isModelName((name.split("[", 1)[0] as string).trim());

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/** For what can be judged without the body. */
export function decideTarget({ names, isUnclear }: NamedModels, rules: ModelRules): GatewayError | undefined {
  if (isUnclear) return refuse("servers may read the model in the path in different ways", rules);
  return refuseForeign(names, rules);
}

/** @param body complete. @param named in the target. */
export function decideBodyModel(body: Buffer, named: NamedModels, rules: ModelRules): GatewayError | undefined {
  const parsed = parseStrictly(body);
  if (parsed === undefined) return refuse("the body is not JSON in UTF-8", rules);
  const open = objectStart(body);
  if (open === undefined) return refuse("the body is not a JSON object", rules);
  const names = [...named.names];
  let hasModel = false;
  let count = 0;
  for (const { name, value } of membersOf(body, open)) {
    if (++count > MEMBERS_LIMIT) return refuse(`the body has more than ${MEMBERS_LIMIT} members`, rules);
    if (foldName(name) === "models") {
      const list: unknown = JSON.parse(body.toString("utf8", value.start, value.end));
      if (!isTextList(list)) return refuse("the member `models` is not a short list of names", rules);
      names.push(...list);
    }
    if (!isModelName(name)) continue;
    if (hasModel) return refuse("the body has more than one member `model`", rules);
    if (name !== "model") return refuse("the member `model` is written in another way", rules);
    hasModel = true;
    const model: unknown = JSON.parse(body.toString("utf8", value.start, value.end));
    if (typeof model !== "string") return refuse("the member `model` is not a text", rules);
    names.push(model);
  }
  if (!hasModel && named.names.length === 0) return refuse("the request names no model", rules);
  return refuseForeign(names, rules);
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= LIST_LIMIT && value.every((each) => typeof each === "string");
}

function refuseForeign(names: readonly string[], rules: ModelRules): GatewayError | undefined {
  const foreign = names.find((name) => rules.some((patterns) => !patterns.some((each) => matchesModel(each, name))));
  return foreign === undefined ? undefined : refuse(`the key may not use the model ${shown(foreign)}`, rules);
}

const shown = (name: string) => name.slice(0, SHOWN_LIMIT).replace(/[^\x20-\x7e]/g, "?");

/** @param reason a sentence without its point. */
export function refuse(reason: string, rules: ModelRules): GatewayError {
  const allowed = [...new Set(rules.flat())];
  return new GatewayError("MODEL_NOT_ALLOWED", {
    message: `Refused: ${reason}. The key is limited to: ${allowed.join(", ")}.`,
    extra: { models: allowed },
  });
}
