/**
 * Translates zod issues of the services file to problem lines: where, what was found, what is allowed.
 * Invariant: the operator never sees zod's own messages, and no value of a header or of `auth` is shown.
 */
import type { z } from "zod";
import { isObject } from "../is-object.ts";
import { allowedValues, type JsonSchema, knownNames, schemaAt, servicesFileJsonSchema } from "./json-schema.ts";
import { nearestName } from "./nearest-name.ts";
import { showValue, showWord } from "./problems.ts";

export type Path = readonly PropertyKey[];

export interface FoundProblem {
  readonly path: Path;
  /** Whether the position is that of the value or of its name. */
  readonly at: "value" | "name";
  readonly text: string;
  /** Shown instead of the position in the file, for a problem that is not in the file. */
  readonly place?: string;
  /** The value is well-formed, and larger than this version accepts. */
  readonly isBudget?: boolean;
}

/** The problems and warnings of a service. */
export interface Findings {
  readonly problems: FoundProblem[];
  readonly warnings: FoundProblem[];
}

/** For one object. An operator with more problems than this fixes the first ones first. */
const ISSUES_LIMIT = 50;

/** @param issues of one service, or of the file around the services, with paths from the root of the file. */
export function translateIssues(issues: readonly z.core.$ZodIssue[], document: unknown): FoundProblem[] {
  if (issues.length === 0) return [];
  const root = servicesFileJsonSchema();
  return issues.slice(0, ISSUES_LIMIT).flatMap((issue) => translate(issue, document, root));
}

function translate(issue: z.core.$ZodIssue, document: unknown, root: JsonSchema): FoundProblem[] {
  const { path } = issue;
  if (issue.code === "invalid_union") {
    // A problem inside the object is more useful than the message that it is not the other allowed value.
    const inside = issue.errors.find((issues) => issues.every(isInside)) ?? [];
    const problems = inside.map((each) => ({ ...each, path: [...path, ...each.path] }));
    if (problems.length > 0) return problems.flatMap((each) => translate(each, document, root));
  }
  if (issue.code === "unrecognized_keys") {
    const known = knownNames(schemaAt(root, path));
    return issue.keys
      .slice(0, ISSUES_LIMIT)
      .map((name) => ({ path: [...path, name], at: "name", text: unknownName(name, known) }));
  }
  if (issue.code === "invalid_key") {
    const allowed = issue.issues[0]?.message ?? "another name";
    return [{ path, at: "name", text: `found ${showName(path.at(-1))}, allowed: ${allowed}` }];
  }
  const value = valueAt(document, path);
  const schema = schemaAt(root, path);
  const text = `${describeFound(value, path, schema)}, allowed: ${describeAllowed(issue, schema)}`;
  return [isBudget(issue) ? { path, at: "value", text, isBudget: true } : { path, at: "value", text }];
}

/** A limit of length or number, not of a numeric value. */
function isBudget(issue: z.core.$ZodIssue): boolean {
  if (issue.code === "too_big") return issue.origin === "string" || issue.origin === "array";
  return issue.code === "custom" && issue.params?.isBudget === true;
}

const isInside = ({ path, code }: z.core.$ZodIssue) => path.length > 0 || code === "unrecognized_keys";

function describeFound(value: unknown, path: Path, schema: JsonSchema | undefined): string {
  if (value === undefined) return "missing";
  const names = knownNames(schema).filter((name) => isObject(value) && Object.hasOwn(value, name));
  return `found ${showValue(value, isSecretPlace(path))}${names.length > 0 ? ` with ${names.join(", ")}` : ""}`;
}

/** The message of our own checks, otherwise the bounds and choices of the schema. */
function describeAllowed(issue: z.core.$ZodIssue, schema: JsonSchema | undefined): string {
  if (issue.code === "custom" || issue.code === "invalid_format") return issue.message;
  if (schema === undefined) return "another value";
  if (issue.code === "too_small" && schema.type === "string") return "a string that is not empty";
  if (issue.code === "too_small" && schema.type === "array")
    return `at least one of ${allowedValues(schema.items ?? {})}`;
  if (issue.code === "too_big" && schema.type === "string") return `a string of at most ${issue.maximum} characters`;
  if (issue.code === "too_big" && schema.type === "array") return `a list of at most ${issue.maximum} entries`;
  return allowedValues(schema);
}

function unknownName(name: string, known: readonly string[]): string {
  const guess = nearestName(name, known);
  return `unknown key ${showName(name)}${guess === undefined ? `, allowed: ${known.join(", ")}` : `; did you mean "${guess}"?`}`;
}

const showName = (name: PropertyKey | undefined) => showWord(String(name));

const SHOWN_AUTH_MEMBERS: ReadonlySet<PropertyKey | undefined> = new Set([
  ...["type", "grant", "clientAuth", "required", "restSeconds"],
]);

/** A place in which the operator writes, or by mistake may write, a secret. */
function isSecretPlace(path: Path): boolean {
  const [, , member, ...rest] = path;
  if (member === "headers" || member === "setHeaders") return true;
  return member === "auth" && !SHOWN_AUTH_MEMBERS.has(rest[0] === "of" ? rest[2] : rest[0]);
}

function valueAt(document: unknown, path: Path): unknown {
  let value = document;
  for (const segment of path) {
    // Also for lists: a segment may be an index.
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, segment)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[segment];
  }
  return value;
}
