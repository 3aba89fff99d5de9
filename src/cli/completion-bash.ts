/** The completion script for bash, also for version 3.2, which macOS has. */
import type { CompletedCommand } from "./completed-commands.ts";

export function bashScript(commands: readonly CompletedCommand[]): string {
  const paths = commands.filter(({ path }) => path !== "").map(({ path }) => `'${path}'`);
  return `# Completion of byteproxy for bash: source <(byteproxy completion bash)
_byteproxy() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" at="" next i words="" files=""
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${at:+$at }\${COMP_WORDS[i]}"
    case "$next" in
      ${paths.join("|")}) at="$next" ;;
    esac
  done
  case "$at:$before" in
${commands.flatMap(optionValues).join("\n")}
  *)
    case "$at" in
${commands.map(wordsOf).join("\n")}
    esac
    ;;
  esac
  if [[ -n "$files" && "$word" != -* ]]; then
    local IFS=$'\\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}
complete -F _byteproxy byteproxy
`;
}

/** After an option that takes a value: the values, a file, or nothing. */
function optionValues({ path, options }: CompletedCommand): string[] {
  return options
    .filter(({ takesValue }) => takesValue)
    .map(({ names, values, takesFile }) => {
      const patterns = names.map((name) => `'${path}:${name}'`).join("|");
      return `  ${patterns}) ${takesFile ? "files=1" : `words="${values.join(" ")}"`} ;;`;
    });
}

function wordsOf({ path, commands, options, values, takesFile }: CompletedCommand): string {
  const names = [...commands.map(({ name }) => name), ...values];
  const flags = options.flatMap((option) => option.names).join(" ");
  return `    '${path}') if [[ "$word" == -* ]]; then words="${flags}"; else words="${names.join(" ")}"${takesFile ? " files=1" : ""}; fi ;;`;
}
