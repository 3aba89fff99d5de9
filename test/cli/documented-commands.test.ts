/** The help of each command, and the commands that the pages name. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { describe, expect, test } from "vitest";
import { createProgram } from "../../src/cli/command-line.ts";
import { completedCommands } from "../../src/cli/completed-commands.ts";

const root = resolve(import.meta.dirname, "../..");
const program = createProgram(
  async () => {},
  async () => {},
);
const commands = new Map(completedCommands(program).map((command) => [command.path, command]));

function find(path: string): Command {
  const words = path === "" ? [] : path.split(" ");
  return words.reduce<Command>(
    (command, word) => command.commands.find((each) => each.name() === word) as Command,
    program,
  );
}

function helpOf(path: string): string {
  let text = "";
  const command = find(path);
  command.configureOutput({
    writeOut(part) {
      text += part;
    },
  });
  command.outputHelp();
  return text;
}

describe("help", () => {
  test("The commands are listed in groups, and no command is outside of a group", () => {
    const help = helpOf("");
    const groups = [...help.matchAll(/^([A-Z]\w+):$/gm)].map((match) => match[1]);
    expect(groups).toEqual(["Options", "Start", "Look", "Change", "Shell", "Examples"]);
  });

  test.each([...commands.keys()])("The help of `byteproxy %s` describes its options and has an example", (path) => {
    const command = commands.get(path);
    const help = helpOf(path);
    expect(help).toMatch(/\nExamples:\n/);
    expect(help).toMatch(new RegExp(`byteproxy ${path}`));
    expect(find(path).description()).not.toBe("");
    for (const { name, description } of command?.options ?? []) expect(description, name).not.toBe("");
  });
});

const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith(".md"))
  .map((name) => [name, readFileSync(join(root, name), "utf8")] as const);

/** Commands in code blocks and in backticks. */
function documented(text: string): string[] {
  const blocks = [...text.matchAll(/^```(?:sh|console)\n([\s\S]*?)^```/gm)].map((match) => match[1] as string);
  const inBlocks = blocks.flatMap((block) =>
    block
      .replaceAll("\\\n", " ")
      .split(/\n|(?<=&& )/)
      .flatMap((line) => /^(?:\$ |.*(?:\$\(|<\())?(?:npx )?(byteproxy .*)$/.exec(line)?.[1] ?? []),
  );
  const inline = [...text.replace(/^```[\s\S]*?^```/gm, "").matchAll(/`(?:npx )?(byteproxy [^`]*)`/g)];
  return [...inBlocks, ...inline.map((match) => match[1] as string)];
}

function pathOf(line: string): string {
  let path = "";
  for (const word of line.split(/[\s)]+/).slice(1)) {
    const next = `${path} ${word}`.trim();
    if (!commands.has(next)) break;
    path = next;
  }
  return path;
}

describe("pages", () => {
  const lines = pages.flatMap(([page, text]) => documented(text).map((line) => [page, line] as const));

  test("The pages have an example of every command", () => {
    const named = new Set(lines.map(([, line]) => pathOf(line)));
    const absent = [...commands.values()].filter(({ path, commands: below }) => below.length === 0 && !named.has(path));
    expect(absent.map(({ path }) => path)).toEqual([]);
  });

  test("Every command and option that a page names exists", () => {
    const unknown = lines.flatMap(([page, line]) => {
      const path = pathOf(line);
      const [, first = ""] = line.split(" ");
      const known = (commands.get(path)?.options ?? []).flatMap(({ names }) => names);
      const own = line.split(/ [|&#<>] |&& /)[0] as string;
      const options = [...own.matchAll(/ (--[a-z-]+)/g)].map((match) => match[1] as string);
      const wrong = options.filter((option) => ![...known, "--help", "--no-color"].includes(option));
      const isUnknown = path === "" && !/^(?:-|<|…|$)/.test(first);
      return isUnknown || wrong.length > 0 ? [`${page}: ${line} (${wrong.join(" ")})`] : [];
    });
    expect(unknown).toEqual([]);
  });
});
