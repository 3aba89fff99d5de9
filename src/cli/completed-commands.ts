/** The commands, options and values that a shell can complete, read from the commands themselves. */
import type { Command } from "commander";

/** A command as the scripts need it. */
export interface CompletedCommand {
  /** `services add`; empty for the program itself. */
  readonly path: string;
  readonly commands: readonly Word[];
  readonly options: readonly CompletedOption[];
  /** Values of its argument. */
  readonly values: readonly string[];
  /** Its argument is a file. */
  readonly takesFile: boolean;
}

export interface Word {
  readonly name: string;
  readonly description: string;
}

export interface CompletedOption extends Word {
  /** `--version` and `-v`, if it has a short form. */
  readonly names: readonly string[];
  readonly takesValue: boolean;
  readonly takesFile: boolean;
  /** Its allowed values, if there is a list. */
  readonly values: readonly string[];
}

const isFile = (name: string) => /file|path/.test(name);

export function completedCommands(command: Command, path = ""): readonly CompletedCommand[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command).filter((each) => each.name() !== "help");
  const arguments_ = command.registeredArguments;
  const own: CompletedCommand = {
    path,
    commands: commands.map((each) => ({ name: each.name(), description: each.description() })),
    options: help.visibleOptions(command).map(({ long, short, description, flags, required, argChoices }) => ({
      name: long ?? short ?? "",
      names: [long, short].filter((name) => name !== undefined),
      description,
      takesValue: required,
      takesFile: required && isFile(flags),
      values: argChoices ?? [],
    })),
    values: arguments_.flatMap(({ argChoices }) => argChoices ?? []),
    takesFile: arguments_.some((argument) => isFile(argument.name())),
  };
  const below = commands.flatMap((each) => completedCommands(each, `${path} ${each.name()}`.trim()));
  return [own, ...below];
}
