/** Colors of a terminal. There are none where the output is no terminal, where NO_COLOR is set or TERM is dumb, and with --no-color. */
import { inspect } from "node:util";

export type Color = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** Puts the text between the codes of a color, or returns it unchanged. */
export type Paint = (color: Color, text: string) => string;

interface Output {
  readonly isTTY?: boolean;
  /** Node's own reading of NO_COLOR, FORCE_COLOR and TERM. */
  hasColors?(): boolean;
}

/** @param words of the command line. */
export function paintFor(output: Output, words: readonly string[] = process.argv): Paint {
  const isColored = output.isTTY === true && output.hasColors?.() === true && !words.includes("--no-color");
  return isColored ? paint : (_, text) => text;
}

function paint(color: Color, text: string): string {
  const [open, close] = inspect.colors[color] as [number, number];
  return `\x1b[${open}m${text}\x1b[${close}m`;
}
