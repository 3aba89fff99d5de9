/** The completion script for fish. */
import type { CompletedCommand, CompletedOption } from "./completed-commands.ts";

export function fishScript(commands: readonly CompletedCommand[]): string {
  const paths = commands.filter(({ path }) => path !== "").map(({ path }) => quote(path));
  return `# Completion of byteproxy for fish: byteproxy completion fish > ~/.config/fish/completions/byteproxy.fish
function __byteproxy_at
    set -l at
    for word in (commandline -opc)[2..-1]
        set -l next (string join -- ' ' $at $word)
        contains -- $next ${paths.join(" ")}; and set at $next
    end
    test "$at" = "$argv[1]"
end
complete -c byteproxy -f
${commands.flatMap(linesOf).join("\n")}
`;
}

function linesOf({ path, commands, options, values, takesFile }: CompletedCommand): string[] {
  const at = `complete -c byteproxy -n ${quote(`__byteproxy_at ${quote(path)}`)}`;
  return [
    ...commands.map(({ name, description }) => `${at} -a ${name} -d ${quote(description)}`),
    ...(values.length === 0 ? [] : [`${at} -a ${quote(values.join(" "))}`]),
    ...(takesFile ? [`${at} -F`] : []),
    ...options.map((option) => `${at}${flagsOf(option)} -d ${quote(option.description)}`),
  ];
}

function flagsOf({ names, takesValue, takesFile, values }: CompletedOption): string {
  const flags = names.map((name) => (name.startsWith("--") ? ` -l ${name.slice(2)}` : ` -s ${name.slice(1)}`)).join("");
  if (!takesValue) return flags;
  const list = values.length === 0 ? "" : ` -a ${quote(values.join(" "))}`;
  return `${flags}${takesFile ? " -r -F" : " -x"}${list}`;
}

/** Within single quotes, only a backslash and a quote have a meaning. */
const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
