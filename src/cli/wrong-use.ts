/**
 * Explains wrong use of the command line.
 * Invariant: the value of a refused option is never repeated: it may be a secret in the wrong place.
 */
import type { Command, CommanderError } from "commander";
import { plural } from "../plural.ts";
import { CliFailure } from "./cli-failure.ts";

/** What was wrong, and how the command is used. */
export function describeWrongUse(program: Command, words: readonly string[], error: CommanderError): CliFailure {
  const command = commandOf(program, words);
  const name = nameOf(command);
  // A group without a command.
  const isIncomplete = error.code === "commander.help";
  const problem = isIncomplete
    ? `${name} needs a command: ${command.commands.map((each) => each.name()).join(", ")}.`
    : explain(name, error);
  return new CliFailure(2, [problem, "", ...usageOf(command)], {
    error: "Wrong use",
    message: problem,
    code: "WRONG_USE",
    hint: `For more, run ${name} --help.`,
  });
}

function explain(name: string, { code, message }: CommanderError): string {
  const [text = "", suggestion] = message.replace(/^error: /, "").split("\n");
  const hint = suggestion === undefined ? "" : ` ${suggestion}`;
  const under = name.replace(/^byteproxy ?/, "");
  switch (code) {
    case "commander.unknownCommand":
    case "commander.unknownOption":
      return `Unknown: ${[under, /'([^'=]*)/.exec(text)?.[1]].join(" ").trim()}${hint}`;
    case "commander.excessArguments":
      return describeExcess(name, text);
    default:
      // Commander writes `argument '<the typed value>' is invalid`, and for an argument `command-argument value '<…>'`.
      return `${name}: ${text.replace(/ argument '.*' is invalid\./s, " is not valid.").replace(/command-argument value '.*' is invalid for argument '([^']*)'\./s, "the argument '$1' is not valid.")}`;
  }
}

/** Commander writes `Expected 1 argument but got 2.` */
function describeExcess(name: string, text: string): string {
  const [, allowed = "0", given = "more"] = /Expected (\d+) arguments? but got (\d+)/.exec(text) ?? [];
  const limit = allowed === "0" ? "no arguments" : `at most ${plural(Number(allowed), "argument")}`;
  return `${name} takes ${limit}, but got ${given}.`;
}

/** The command that the words name. */
function commandOf(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) return command;
    command = next;
  }
  return command;
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

/** Short, because a whole help would move the problem out of sight. */
function usageOf(command: Command): string[] {
  const name = nameOf(command);
  const names = command.commands.map((each) => each.name());
  return [
    `Usage: ${name} ${command.usage()}`,
    ...(names.length === 0 ? [] : [`Commands: ${names.join(", ")}`]),
    "",
    `For more, run ${name} --help.`,
  ];
}
