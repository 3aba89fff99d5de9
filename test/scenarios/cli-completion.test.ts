/** The completion scripts, as shells run them. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { runCommand } from "../support/run-command.ts";

const scripts = new Map<string, string>();

beforeAll(async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, out } = await runCommand({}, ["completion", shell]);
    expect(code).toBe(0);
    scripts.set(shell, out);
  }
}, 20_000);

/** Runs text in bash after the script. `compopt` works only within a completion that a terminal asks for. */
function inBash(text: string, cwd?: string): string {
  const { status, stdout, stderr } = spawnSync(
    "bash",
    ["--noprofile", "--norc", "-c", `source <(printf '%s' "$SCRIPT"); ${text}`],
    { env: { ...process.env, SCRIPT: scripts.get("bash") }, encoding: "utf8", cwd },
  );
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

/** What bash offers for the last of the words. */
function completed(words: readonly string[], cwd?: string): string[] {
  const quoted = ["byteproxy", ...words].map((word) => `'${word}'`).join(" ");
  const text = `COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _byteproxy; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return inBash(text, cwd)
    .split("\n")
    .filter((line) => line !== "");
}

describe("bash", () => {
  test("The script registers the command", () => {
    expect(inBash("complete -p byteproxy")).toBe("complete -F _byteproxy byteproxy\n");
  });

  test("Commands, commands of a group, options and their values are completed", () => {
    expect(completed([""])).toEqual(expect.arrayContaining(["start", "proxy", "status", "services", "completion"]));
    expect(completed(["se"])).toEqual(["services"]);
    expect(completed(["services", "u"])).toEqual(["update"]);
    expect(completed(["services", "add", "x", "--au"])).toEqual(["--auth"]);
    expect(completed(["services", "add", "x", "--auth", ""])).toEqual(["bearer", "bot", "basic", "api-key"]);
    expect(completed(["services", "add", "x", "--auth", "basic", "--user"])).toEqual([
      ...["--username", "--username-env-var"],
    ]);
    expect(completed(["completion", ""])).toEqual(["bash", "zsh", "fish"]);
    expect(completed(["keys", "create", "--name", ""])).toEqual([]);
    expect(completed(["--ver"])).toEqual(["--version"]);
  });

  test("Files are completed where a command or an option takes one, also with spaces in their names", () => {
    const folder = tempFolder({ "my services.json": "{}" });
    expect(completed(["check", "my"], folder)).toEqual(["my services.json"]);
    expect(completed(["services", "add", "x", "--file", "my"], folder)).toEqual(["my services.json"]);
    expect(completed(["status", ""], folder)).toEqual([]);
  });
});

/** Every command and option of the help is in each script, and no other. */
test.each(["bash", "zsh", "fish"])("The script for %s has the commands and options of the help", async (shell) => {
  const script = scripts.get(shell) ?? "";
  for (const words of [["proxy"], ["services", "update"], ["keys", "create"]]) {
    const { out } = await runCommand({}, [...words, "--help"]);
    const options = [...out.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map((match) => match[1] as string);
    expect(options.length).toBeGreaterThan(2);
    for (const option of options) expect(script, option).toMatch(new RegExp(`(?:--|-l )${option}\\b`));
    expect(script).toContain(words.join(" "));
  }
  expect(script).not.toMatch(/undefined|\[object/);
});

/** Shells that this machine does not have cannot check their script. */
test.each(["bash", "zsh", "fish"].filter((shell) => spawnSync(shell, ["--version"]).status === 0))(
  "%s reads its script without an error",
  (shell) => {
    const path = join(tempFolder({ script: scripts.get(shell) ?? "" }), "script");
    const { status, stderr } = spawnSync(shell, ["-n", path], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  },
);

test.runIf(spawnSync("fish", ["--version"]).status === 0)("fish offers the commands, options and values", () => {
  const folder = tempFolder({ "byteproxy.fish": scripts.get("fish") ?? "", "my.json": "{}" });
  const offered = (line: string) => {
    const code = `source byteproxy.fish; complete -C '${line}'`;
    const { stdout, stderr } = spawnSync("fish", ["-c", code], { cwd: folder, encoding: "utf8" });
    expect(stderr).toBe("");
    return stdout.split("\n").flatMap((each) => each.split("\t")[0] || []);
  };
  expect(offered("byteproxy services u")).toEqual(["update"]);
  expect(offered("byteproxy services add x --auth b").sort()).toEqual(["basic", "bearer", "bot"]);
  expect(offered("byteproxy services add --auth basic --token-")).toEqual(["--token-env-var", "--token-file"]);
  expect(offered("byteproxy check my")).toEqual(["my.json"]);
});
