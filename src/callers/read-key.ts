/**
 * Validates the fields of a new or changed key, for `/manage/keys` and the command line.
 * Invariant: all problems are reported at once, and an invalid field grants nothing.
 */
import { LONGEST_TIMER_MS } from "../config/schema.ts";
import { BUDGET_TOKENS_LIMIT, PERIODS, type TokenBudget } from "../config/token-budget.ts";
import { GatewayError } from "../errors.ts";
import { isObject } from "../is-object.ts";
import { parseAddressRange } from "./allowed-addresses.ts";
import { parseClientCert } from "./client-certificate.ts";
import { isModelPattern, MODEL_PATTERN_FORM, MODEL_PATTERNS_LIMIT } from "./model-patterns.ts";
import { parsePermission } from "./permissions.ts";

export interface ReadKey {
  readonly name?: string;
  readonly permissions?: readonly string[];
  readonly expiresAt?: string | null;
  readonly rateLimit?: { readonly maxRequests: number; readonly windowMs: number } | null;
  readonly allowIps?: readonly string[];
  readonly clientCert?: string | null;
  readonly budget?: TokenBudget | null;
  readonly models?: readonly string[] | null;
}

const NAME_LIMIT = 100;
const LIST_LIMIT = 50;
const LONGEST_GRACE_S = 30 * 86_400;
const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/i;

type Fields = Readonly<Record<string, (value: unknown) => readonly string[]>>;

const FIELDS: Fields = {
  name: (value) =>
    typeof value === "string" && /^[^\p{C}]{1,100}$/u.test(value)
      ? []
      : [`allowed: a string of 1 to ${NAME_LIMIT} characters`],
  permissions: (value) =>
    listProblems(value, 1, (text) => {
      const parsed = parsePermission(text);
      return "problem" in parsed ? [parsed.problem] : [];
    }),
  expiresAt: (value) =>
    value === null || isFuture(value) ? [] : ["allowed: null, or a time in the future such as 2027-01-31T00:00:00Z"],
  rateLimit: (value) =>
    value === null || isRateLimit(value)
      ? []
      : [`allowed: null, or {maxRequests, windowMs}, the window of 1000 to ${LONGEST_TIMER_MS} ms`],
  allowIps: (value) =>
    listProblems(value, 0, (text) => {
      const parsed = parseAddressRange(text);
      return "problem" in parsed ? [parsed.problem] : [];
    }),
  clientCert: (value) => {
    if (value === null) return [];
    const parsed = typeof value === "string" ? parseClientCert(value) : parseClientCert("");
    return "problem" in parsed ? [`${parsed.problem}; or null`] : [];
  },
  budget: (value) =>
    value === null || isBudget(value)
      ? []
      : [`allowed: null, or {tokens, per}, of 1 to ${BUDGET_TOKENS_LIMIT} tokens per ${PERIODS.join(", ")}`],
  models: (value) => {
    if (value === null) return [];
    const isList = Array.isArray(value) && value.length > 0 && value.length <= MODEL_PATTERNS_LIMIT;
    return isList && value.every((each) => typeof each === "string" && isModelPattern(each))
      ? []
      : [`allowed: null, or a list of 1 to ${MODEL_PATTERNS_LIMIT} patterns, each ${MODEL_PATTERN_FORM}`];
  },
};

/** @throws GatewayError VALIDATION_ERROR, as all functions here do. */
export function readNewKey(
  body: unknown,
): ReadKey & { readonly name: string; readonly permissions: readonly string[] } {
  return normalized(read(body, FIELDS, ["name", "permissions"])) as ReturnType<typeof readNewKey>;
}

export function readKeyChange(body: unknown): ReadKey {
  return normalized(read(body, FIELDS, []));
}

export function readRotation(body: unknown): { readonly graceSeconds: number } {
  const isGrace = (value: unknown) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= LONGEST_GRACE_S;
  const fields: Fields = {
    graceSeconds: (value) => (isGrace(value) ? [] : [`allowed: a whole number from 0 to ${LONGEST_GRACE_S}`]),
  };
  return { graceSeconds: 0, ...read(body, fields, []) };
}

/** One spelling of a certificate is stored. */
function normalized(key: ReadKey): ReadKey {
  const parsed = typeof key.clientCert === "string" ? parseClientCert(key.clientCert) : undefined;
  return parsed === undefined || "problem" in parsed ? key : { ...key, ...parsed };
}

function read(body: unknown, fields: Fields, needed: readonly string[]): ReadKey {
  const given = isObject(body) ? body : {};
  const details: Record<string, readonly string[]> = isObject(body) ? {} : { body: ["allowed: an object"] };
  for (const name of needed) if (given[name] === undefined) details[name] = ["found nothing"];
  for (const [name, value] of Object.entries(given)) {
    const check = Object.hasOwn(fields, name) ? fields[name] : undefined;
    const problems = check?.(value) ?? [`unknown, allowed: ${Object.keys(fields).join(", ")}`];
    if (problems.length > 0) details[name.slice(0, 64)] = problems;
  }
  if (Object.keys(details).length === 0) return given;
  throw new GatewayError("VALIDATION_ERROR", {
    message: `The key is not valid: ${Object.keys(details).join(", ")}.`,
    extra: { details },
  });
}

function listProblems(
  value: unknown,
  least: number,
  problemsOf: (text: string) => readonly string[],
): readonly string[] {
  const isList = Array.isArray(value) && value.every((each) => typeof each === "string");
  if (!isList || value.length < least || value.length > LIST_LIMIT) {
    return [`allowed: a list of ${least} to ${LIST_LIMIT} texts`];
  }
  return value.flatMap(problemsOf);
}

function isRateLimit(value: unknown): boolean {
  const isWhole = (number: unknown, least: number, most: number) =>
    Number.isInteger(number) && (number as number) >= least && (number as number) <= most;
  if (!isObject(value)) return false;
  const { maxRequests, windowMs, ...others } = value;
  const isInBounds = isWhole(maxRequests, 1, 1_000_000_000) && isWhole(windowMs, 1_000, LONGEST_TIMER_MS);
  return isInBounds && Object.keys(others).length === 0;
}

function isBudget(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { tokens, per, ...others } = value;
  const isAmount = Number.isInteger(tokens) && (tokens as number) >= 1 && (tokens as number) <= BUDGET_TOKENS_LIMIT;
  return isAmount && (PERIODS as readonly unknown[]).includes(per) && Object.keys(others).length === 0;
}

function isFuture(value: unknown): boolean {
  return typeof value === "string" && RFC_3339.test(value) && Date.parse(value) > Date.now();
}
