/**
 * The environment: `.env`, `.env.local` and the process, merged, each variable with its origin.
 * Invariant: the only reader of process.env and of dotenv, and it writes to neither nor prints.
 */
import { join } from "node:path";
import { parse } from "dotenv";
import { readTextFile } from "./read-file.ts";

/** Where a variable's value came from; later ones win. */
export const VARIABLE_ORIGINS = [".env", ".env.local", "environment", "command line"] as const;
export type VariableOrigin = (typeof VARIABLE_ORIGINS)[number];

export interface Variable {
  readonly value: string;
  readonly origin: VariableOrigin;
}

export interface EnvFileReading {
  readonly path: string;
  readonly state: "read" | "absent" | "unreadable";
}

export interface Environment {
  /** Every variable that is set; one with an empty value is not. */
  readonly variables: ReadonlyMap<string, Variable>;
  readonly files: readonly EnvFileReading[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface EnvironmentOptions {
  readonly processEnv?: Readonly<Record<string, string | undefined>> | undefined;
  /** Variables that the command line sets: they win over all others. */
  readonly commandLine?: Readonly<Record<string, string>> | undefined;
  /** Folder of the env files; the working directory when left out. */
  readonly directory?: string | undefined;
}

export function readEnvironment({
  processEnv = process.env,
  commandLine = {},
  directory = process.cwd(),
}: EnvironmentOptions = {}): Environment {
  const variables = new Map<string, Variable>();
  const files: EnvFileReading[] = [];
  const problems: string[] = [];
  const warnings: string[] = [];

  const add = (origin: VariableOrigin, values: Readonly<Record<string, string | undefined>>) => {
    for (const [name, text] of Object.entries(values)) {
      const value = text?.trim() ?? "";
      if (value !== "") variables.set(name, { value, origin });
    }
  };

  for (const name of [".env", ".env.local"] as const) {
    const path = join(directory, name);
    const reading = readTextFile(path);
    files.push({ path, state: reading.state });
    if (reading.state === "unreadable") problems.push(`${name}: cannot be read: ${reading.reason}`);
    if (reading.state !== "read") continue;
    const text = reading.text.replace(/\r\n?/g, "\n");
    add(name, parse(text));
    reviewLines(name, text, problems, warnings);
  }
  add("environment", processEnv);
  add("command line", commandLine);
  return { variables, files, problems, warnings };
}

/**
 * Finds the lines that dotenv passes over without a word. dotenv itself says which lines belong to a
 * quoted value of several lines: a marker before each line survives only outside of one.
 */
function reviewLines(name: string, text: string, problems: string[], warnings: string[]): void {
  const lines = text.split("\n");
  const markers = parse(lines.map((line, index) => `${marker(index)}=1\n${line}`).join("\n"));
  const values = parse(text);
  for (const [index, line] of lines.entries()) {
    const startsEntry = markers[marker(index)] === "1";
    if (!startsEntry || /^\s*(#|$)/.test(line)) continue;
    const [key, value = ""] = Object.entries(parse(line))[0] ?? [];
    const place = `${name}:${index + 1}`;
    if (key === undefined) {
      problems.push(`${place}: found a line that is no assignment, allowed: NAME=value, # comment`);
    } else if (isUnclosed(line, value) && values[key] === value) {
      problems.push(`${place}: found a quote that is never closed, allowed: NAME="value"`);
    } else if (/^[^"'`#]*[^\s"'`#]#/.test(line)) {
      warnings.push(`${place}: ${key} ends before the "#", which starts a comment; put the value in quotes to keep it`);
    }
  }
}

const marker = (index: number) => `BYTEPROXY_LINE_${index}`;

/** dotenv takes the quotes of a value away, so one that is still there had no partner. */
function isUnclosed(line: string, value: string): boolean {
  const quote = /[=:]\s*(["'`])/.exec(line)?.[1];
  return quote !== undefined && value.startsWith(quote) && value.indexOf(quote, 1) === -1;
}
