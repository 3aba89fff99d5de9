/** Options that several commands share, and how option values are read: durations, rates, dates and addresses. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { TokenBudget } from "../config/token-budget.ts";

export interface CommonOptions {
  readonly url?: string;
  readonly offline?: boolean;
  readonly json?: boolean;
}

/** The options of every command that talks to a gateway. */
export function withGateway(command: Command): Command {
  return withJson(command).addOption(
    new Option("--url <url>", "address of the running gateway; default: from the settings of this folder").argParser(
      readUrl,
    ),
  );
}

export function withOffline(command: Command): Command {
  return command.addOption(
    new Option("--offline", "change the files in DATA_DIR directly, while no gateway uses it").conflicts("url"),
  );
}

export function withJson(command: Command): Command {
  return command.option("--json", "print the response as JSON, and nothing else, on stdout");
}

export const ABOUT_THE_GATEWAY = `
The gateway's address is http://127.0.0.1:3420, or the one that PORT and HOST (or MANAGEMENT_PORT and MANAGEMENT_HOST)
set in the environment, .env or .env.local of this folder, or --url. The key is read from MANAGEMENT_API_KEY or
MANAGEMENT_API_KEY_FILE in the same places. There is no option for it: the list of processes would show it.

Exit codes: 0 done; 1 refused, or the gateway is not reachable; 2 wrong use, or not valid.`;

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** A hundred years: a date further away may not be a valid Date. */
const LONGEST_MS = 36_525 * 86_400_000;

/** `30d` in ms. @throws InvalidArgumentError */
export function readDuration(text: string): number {
  const [, count, unit = ""] = /^(\d{1,9})(ms|[smhdw])$/.exec(text) ?? [];
  const ms = Number(count) * (UNIT_MS[unit] ?? Number.NaN);
  if (ms > 0 && ms <= LONGEST_MS) return ms;
  throw new InvalidArgumentError("Allowed: a number and s, m, h, d or w, like 30d.");
}

export interface Rate {
  readonly maxRequests: number;
  readonly windowMs: number;
}

/** `100/60s`, or `100/m`. @throws InvalidArgumentError */
export function readRate(text: string): Rate {
  const [, requests = "", window = ""] = /^(\d{1,9})\/(\d*(?:ms|[smhdw]))$/.exec(text) ?? [];
  if (Number(requests) > 0 && !/^0+\D/.test(window)) {
    return { maxRequests: Number(requests), windowMs: readDuration(/^\d/.test(window) ? window : `1${window}`) };
  }
  throw new InvalidArgumentError("Allowed: requests/duration, like 100/60s.");
}

/** `100000/day`. @throws InvalidArgumentError */
export function readBudget(text: string): TokenBudget {
  const [, tokens, per] = /^(\d{1,13})\/(hour|day|month)$/.exec(text) ?? [];
  if (Number(tokens) > 0) return { tokens: Number(tokens), per: per as TokenBudget["per"] };
  throw new InvalidArgumentError("Allowed: tokens/hour, tokens/day or tokens/month, like 100000/day.");
}

/** RFC 3339, or a date that means its first moment in UTC. Returns RFC 3339. @throws InvalidArgumentError */
export function readDate(text: string): string {
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const day = text.slice(0, 10);
  // JavaScript reads the 31st of February as a day in March.
  if (isDate && !Number.isNaN(Date.parse(text)) && new Date(day).toISOString().startsWith(day)) {
    return new Date(text).toISOString();
  }
  throw new InvalidArgumentError("Allowed: a date, like 2027-01-31 or 2027-01-31T12:00:00Z.");
}

/** @throws InvalidArgumentError */
export function readCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Allowed: a number of seconds.");
}

/** For an option that may be repeated. */
export const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];

/**
 * `github:read,npm:read`, and more with each repetition of the option. A comma separates permissions only when a permission
 * follows it: a path may contain commas.
 */
export const collectPermissions = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  ...text.split(/[\s,]+(?=[^\s,:/]+:)/).map((permission) => permission.trim()),
];

/** The address of a gateway, without a slash at its end. @throws InvalidArgumentError */
export function readUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || /[?#]/.test(text)) {
    throw new InvalidArgumentError("Allowed: an http or https URL, like http://127.0.0.1:3420.");
  }
  if (url.username !== "" || url.password !== "") {
    throw new InvalidArgumentError("Allowed: a URL without user info; the key is read from MANAGEMENT_API_KEY.");
  }
  return url.href.replace(/\/+$/, "");
}
