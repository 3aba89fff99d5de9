/** Thousands of warnings fill no log: what comes behind the first is counted, and where all of them are is said. */
import { expect, test } from "vitest";
import { tellWarnings } from "../../src/cli/tell-warnings.ts";

const told = (count: number) => {
  const lines: unknown[] = [];
  tellWarnings(
    { warn: (line: unknown) => void lines.push(line) },
    Array.from({ length: count }, (_, i) => `warning ${i}`),
  );
  return lines;
};

test.each([0, 1, 100])("%d warnings are told one by one", (count) => {
  expect(told(count)).toEqual(Array.from({ length: count }, (_, i) => `warning ${i}`));
});

test("of more the first hundred are told, and how many there are besides", () => {
  const lines = told(50_000);
  expect(lines).toHaveLength(101);
  expect(lines.at(-1)).toBe("49900 more warnings: the check config of /manage/diagnostics has them all");
});
