/**
 * The environment: `.env`, `.env.local` and the process environment, merged, each variable with its origin.
 * Invariant: only this file reads process.env and uses dotenv. It does not change process.env, and prints nothing.
 */
import { join } from "node:path";
import { parse } from "dotenv";
import { readTextFile } from "./read-file.ts";

/** Where the value of a variable came from. Later origins take precedence. */
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
  /** A variable with an empty value counts as unset. */
  readonly variables: ReadonlyMap<string, Variable>;
  readonly files: readonly EnvFileReading[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface EnvironmentOptions {
  readonly processEnv?: Readonly<Record<string, string | undefined>> | undefined;
  /** Variables that the command line sets. They take precedence over all others. */
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
 * Finds the lines that dotenv silently ignores. To find out which lines belong to a quoted value of several lines, a marker is
 * put before each line: dotenv reads the marker only outside of such a value.
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
      problems.push(`${place}: found a line that is not an assignment, allowed: NAME=value, # comment`);
    } else if (isUnclosed(line, value) && values[key] === value) {
      problems.push(`${place}: found a quote that is never closed, allowed: NAME="value"`);
    } else if (/^[^"'`#]*[^\s"'`#]#/.test(line)) {
      warnings.push(`${place}: ${key} ends before the "#", which starts a comment; put the value in quotes to keep it`);
    }
  }
}

const marker = (index: number) => `BYTEPROXY_LINE_${index}`;

/** dotenv removes the quotes around a value, so a quote that is still there was never closed. */
function isUnclosed(line: string, value: string): boolean {
  const quote = /[=:]\s*(["'`])/.exec(line)?.[1];
  return quote !== undefined && value.startsWith(quote) && value.indexOf(quote, 1) === -1;
}
