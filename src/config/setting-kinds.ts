/** The kinds of values that variables have, each with the text that names the allowed ones. */
import { z } from "zod";
import { LONGEST_TIMER_MS } from "./schema.ts";

/** Reads the text of a variable as its value. @param allowed completes "allowed: …" if `read` returns undefined. */
export function setting<T>(allowed: string, read: (text: string) => T | undefined) {
  return z
    .string()
    .transform((text, refinement): T => {
      const value = read(text);
      if (value !== undefined) return value;
      refinement.addIssue({ code: "custom", message: allowed });
      return z.NEVER;
    })
    .meta({ allowed });
}

export const integer = (min: number, max: number) =>
  setting(`an integer from ${min} to ${max}`, (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max ? value : undefined;
  });

export const number = (max: number) =>
  setting(`a number from 0 to ${max}`, (text) => {
    const value = /^\d{1,16}(?:\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
    return value <= max ? value : undefined;
  });

const FLAGS = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);
export const flag = () => setting("true or false", (text) => FLAGS.get(text.toLowerCase()));

export const choice = <const T extends string>(...choices: T[]) =>
  setting(choices.join(", "), (text) => choices.find((option) => option === text.toLowerCase()));

export const text = (allowed: string) => setting(allowed, (value) => value);

export const splitList = (value: string) =>
  value
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
export const list = (allowed: string, isAllowed: (item: string) => boolean = () => true) =>
  setting(allowed, (value) => (splitList(value).every(isAllowed) ? splitList(value) : undefined));

/** RFC 9110 section 5.6.2. */
export const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export const milliseconds = (min: number) => integer(min, LONGEST_TIMER_MS);
