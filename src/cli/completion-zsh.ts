/** The completion script for zsh. */
import type { CompletedCommand, Word } from "./completed-commands.ts";

export function zshScript(commands: readonly CompletedCommand[]): string {
  const paths = commands.filter(({ path }) => path !== "").map(({ path }) => `'${path}'`);
  return `#compdef byteproxy
# Completion of byteproxy for zsh: source <(byteproxy completion zsh), or a file _byteproxy in a folder of $fpath
_byteproxy() {
  local at="" next i before="\${words[CURRENT-1]}" word="\${words[CURRENT]}" files=""
  local -a names flags
  for ((i = 2; i < CURRENT; i++)); do
    next="\${at:+$at }\${words[i]}"
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
  if [[ -n "$files" && "$word" != -* ]]; then _files; return; fi
  if [[ "$word" == -* ]]; then _describe -o option flags; else _describe value names; fi
}
if [[ "$funcstack[1]" == _byteproxy ]]; then _byteproxy "$@"; else compdef _byteproxy byteproxy; fi
`;
}

function optionValues({ path, options }: CompletedCommand): string[] {
  return options
    .filter(({ takesValue }) => takesValue)
    .map(({ names, values, takesFile }) => {
      const patterns = names.map((name) => `'${path}:${name}'`).join("|");
      return `  ${patterns}) ${takesFile ? "files=1" : `names=(${values.join(" ")})`} ;;`;
    });
}

function wordsOf({ path, commands, options, values, takesFile }: CompletedCommand): string {
  const names = [...commands.map(described), ...values.map((value) => `'${value}'`)];
  const flags = options.flatMap(({ names, description }) => names.map((name) => described({ name, description })));
  return `    '${path}') names=(${names.join(" ")}); flags=(${flags.join(" ")})${takesFile ? "; files=1" : ""} ;;`;
}

/** `'name:description'`: a colon ends the name, and a quote ends the text. */
function described({ name, description }: Word): string {
  return `'${name}:${description.replaceAll("'", `'"'"'`)}'`;
}
