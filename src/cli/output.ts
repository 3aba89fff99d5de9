/**
 * What commands print: the answer's JSON and nothing else, or a small table or sentence for people.
 * Invariant: nothing that came from elsewhere reaches a terminal with control characters in it.
 */

/** Control characters of ASCII and of Latin 1: they move cursors, change titles and more. */
const CONTROL = /[\x00-\x1f\x7f-\x9f]+/g;

/** One line. */
export const plain = (text: string) => text.replace(CONTROL, " ");

export function say(line: string): void {
  process.stdout.write(`${plain(line)}\n`);
}

/** Beside the result: on stderr, so that a script that takes the result does not get it. */
export function remark(line: string): void {
  process.stderr.write(`${plain(line)}\n`);
}

export function sayJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Aligned by columns, without lines: for eyes, and for awk. */
export function sayTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const all = [head, ...rows].map((row) => row.map(plain));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** A reader that has seen enough (`| head`) is no failure; an output that cannot be written is one, without a stack trace. */
export function outliveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EPIPE") return;
      process.exitCode = 1;
      if (stream === process.stdout) remark(`The output could not be written: ${code}`);
    });
  }
}
