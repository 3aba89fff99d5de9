/** The values of options: durations, rates, dates and addresses, as people write them. */
import { InvalidArgumentError } from "commander";

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** A hundred years: no date that can be computed with is further away. */
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

/** RFC 3339, or a day: its beginning, UTC. Returns RFC 3339. @throws InvalidArgumentError */
export function readDate(text: string): string {
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const day = text.slice(0, 10);
  // JavaScript takes the 31st of February for a day in March.
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

/** For an option that may be given several times. */
export const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];

/** `github:read,npm:read`, and more of them each time. A comma in a path is a part of it: behind it no permission begins. */
export const collectPermissions = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  ...text.split(/[\s,]+(?=[^\s,:/]+:)/).map((permission) => permission.trim()),
];

/** Where a gateway is, without a slash at its end. @throws InvalidArgumentError */
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
