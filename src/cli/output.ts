/**
 * What commands print, and the files that they create.
 * Invariant: text from elsewhere is printed without control characters; an existing file is never overwritten.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { type Color, paintFor } from "../colors.ts";
import { CliFailure } from "./cli-failure.ts";

/** The control characters of ASCII and of Latin 1: they move the cursor, change the title of a terminal and more. */
const CONTROL_CHARACTERS = /[\x00-\x1f\x7f-\x9f]+/g;

export const oneLine = (text: string) => text.replace(CONTROL_CHARACTERS, " ");

export function printLine(line: string): void {
  process.stdout.write(`${oneLine(line)}\n`);
}

/** On stderr: a script that reads the result from stdout does not get it. */
export function printNote(line: string): void {
  process.stderr.write(`${oneLine(line)}\n`);
}

/** JSON escapes the control characters of ASCII; those of Latin 1 are escaped here. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, null, 2).replace(
    /[\x7f-\x9f]/g,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
  );
  process.stdout.write(`${text}\n`);
}

/** The color of a cell, by its row and column; undefined for none. */
export type ColorOf = (row: number, column: number) => Color | undefined;

/** Columns are aligned with spaces, without borders: readable for people and for awk. */
export function printTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  colorOf: ColorOf = () => undefined,
): void {
  const paint = paintFor(process.stdout);
  const all = [head, ...rows].map((row) => row.map(oneLine));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row, index) =>
    row
      .map((cell, column) => {
        const color = index === 0 ? "dim" : colorOf(index - 1, column);
        const padding = column === row.length - 1 ? "" : " ".repeat((widths[column] ?? 0) - cell.length);
        return `${color === undefined ? cell : paint(color, cell)}${padding}`;
      })
      .join("  ")
      .trimEnd(),
  );
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** Lines that may have colors. Their parts from elsewhere have no control characters: see `oneLine`. */
export function printLines(lines: readonly string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** `1 d 3 h`, `12 min`, `25 s`: the two largest units. */
export function showSeconds(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.round(seconds)} s`;
}

/** A reader that closes the pipe early (`| head`) is not an error. Output that cannot be written is one, without a stack trace. */
export function handleClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EPIPE") return;
      process.exitCode = 1;
      if (stream === process.stdout) printNote(`The output could not be written: ${code}`);
    });
  }
}

/** Called before the work, because its result could not be written afterwards. @throws CliFailure */
export function refuseExisting(path: string): void {
  if (existsSync(path)) throw existsAlready(path);
}

export function existsAlready(path: string): CliFailure {
  return new CliFailure(2, [`${path} already exists and is not overwritten: choose another name, or move the file.`]);
}

/** Returns false when the file exists: it is left unchanged. @throws CliFailure */
export function writeNewFile(path: string, text: string, mode: number): boolean {
  // The flag, not a check before: two commands at once never write the same file, and no symbolic link is followed.
  return isCreated(path, () => writeFileSync(path, text, { flag: "wx", mode }));
}

/** Does nothing when the folder exists. @throws CliFailure */
export function makeFolder(path: string): void {
  isCreated(path, () => mkdirSync(path));
}

function isCreated(path: string, create: () => void): boolean {
  try {
    create();
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    throw new CliFailure(1, [`${path} could not be written: ${code}`]);
  }
}
