/**
 * `byteproxy completion bash|zsh|fish`: a script that completes commands, options and their values.
 * Invariant: the script is made from the commands themselves, so that it never names one that does not exist.
 */
import { Argument, type Command } from "commander";
import { completedCommands } from "./completed-commands.ts";
import { bashScript } from "./completion-bash.ts";
import { fishScript } from "./completion-fish.ts";
import { zshScript } from "./completion-zsh.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .description("print a script that makes a shell complete the commands and options of byteproxy")
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(SCRIPTS)))
    .addHelpText("after", EXAMPLES)
    .action((shell: keyof typeof SCRIPTS) => {
      process.stdout.write(SCRIPTS[shell](completedCommands(program)));
    });
}

const EXAMPLES = `
The scripts complete the command byteproxy, as npm install -g byteproxy installs it.

Examples:
  source <(byteproxy completion bash)         this shell; in ~/.bashrc for all
  source <(byteproxy completion zsh)          the same, after compinit; in ~/.zshrc for all
  byteproxy completion fish > ~/.config/fish/completions/byteproxy.fish`;
