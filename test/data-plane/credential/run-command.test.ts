/** Commands that print secrets, run as real processes. */
import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createCommandRunner, RUN_LIMITS, type RunLimits } from "../../../src/data-plane/credential/run-command.ts";
import { eventually } from "../../support/eventually.ts";

const ENVIRONMENT = { PATH: process.env.PATH ?? "/usr/bin:/bin" };

function openFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-command-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function open(limits: Partial<RunLimits> = {}) {
  const runner = createCommandRunner({ ...RUN_LIMITS, ...limits });
  onTestFinished(() => runner.close());
  return runner;
}

const shell = (script: string, directory = "/", environment: Record<string, string> = {}) => ({
  argv: ["sh", "-c", script],
  directory,
  environment: { ...ENVIRONMENT, ...environment },
});

function run(script: string, limits: Partial<RunLimits> = {}) {
  return open(limits).start(shell(script)).outcome;
}

/** Fails while the file has no number yet. */
const readPid = (file: string) => eventually(() => Number(readFileIfAny(file)) || undefined, `a number in ${file}`);

function readFileIfAny(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}

/** A zombie counts as alive: its parent has not read its exit status. */
const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** A process that another one has left may stay a zombie where no process reads its exit status, as in some containers. */
const isGone = (pid: number) => !isAlive(pid) || /^State:\tZ/m.test(readFileIfAny(`/proc/${pid}/status`));

describe("The output of a command", () => {
  test("The secret is standard output without the white space around it", async () => {
    expect(await run("printf '\\n  abc def \\t\\r\\n\\n'")).toEqual({ kind: "printed", text: "abc def" });
  });

  test("A secret whose characters arrive in parts is read as a whole", async () => {
    const outcome = await run("printf 'k\\303'; sleep 0.05; printf '\\251y'");
    expect(outcome).toEqual({ kind: "printed", text: "kéy" });
  });

  test("Standard error is no part of the secret", async () => {
    expect(await run("echo noise >&2; echo secret")).toEqual({ kind: "printed", text: "secret" });
  });

  test.each([
    ["nothing", "true", "printed nothing"],
    ["white space only", "echo; echo ' '", "printed nothing"],
    ["several lines", "printf 'one\\ntwo\\n'", "printed several lines; it must print only the secret"],
    ["a control character", "printf 'a\\033[1mb'", "printed control characters"],
    ["a NUL byte", "printf 'a\\000b'", "printed control characters"],
    [
      "characters outside of Latin-1",
      "printf '\\342\\202\\254uro'",
      "printed characters that a header cannot carry (not Latin-1)",
    ],
    ["bytes that are no UTF-8", "printf 'a\\377b'", "printed something other than UTF-8 text"],
    ["an exit code", "echo secret; exit 3", "exited with code 3"],
    ["a signal", "echo secret; kill -9 $$", "was ended by SIGKILL"],
  ])("A command with %s is refused with that reason", async (_, script, reason) => {
    expect(await run(script)).toEqual({ kind: "failed", reason });
  });

  test("64 KiB are accepted, and one byte more is not", async () => {
    const printed = await run("head -c 65536 /dev/zero | tr '\\0' x");
    expect(printed).toEqual({ kind: "printed", text: "x".repeat(65_536) });
    const reason = "printed more than 64 KiB and was killed";
    expect(await run("head -c 65537 /dev/zero | tr '\\0' x")).toEqual({ kind: "failed", reason });
  });

  test("A command that prints without end is killed at the limit, and holds no memory", async () => {
    const folder = openFolder();
    const outcome = await open().start(shell(`echo $$ > ${folder}/pid; yes secret`)).outcome;
    expect(outcome).toEqual({ kind: "failed", reason: "printed more than 64 KiB and was killed" });
    const pid = await readPid(join(folder, "pid"));
    await eventually(() => isGone(pid), "the end of the command");
  });
});

describe("The end of a command", () => {
  test("A command that ignores SIGTERM is killed after its time, and so are its children", async () => {
    const folder = openFolder();
    const script = `trap '' TERM; sh -c 'trap "" TERM; echo $$ > ${folder}/child; while :; do sleep 1; done' & echo $$ > ${folder}/parent; wait`;
    const outcome = open({ timeoutMs: 500 }).start(shell(script)).outcome;
    const pids = [await readPid(join(folder, "child")), await readPid(join(folder, "parent"))];
    expect(await outcome).toEqual({ kind: "failed", reason: "did not end within 0.5 seconds and was killed" });
    await eventually(() => pids.every(isGone), "the end of both processes");
  });

  test("The default time is 10 seconds", () => {
    expect(RUN_LIMITS).toMatchObject({ timeoutMs: 10_000, outputBytes: 65_536 });
  });

  test("A process that a command leaves behind is killed when the command ends, although it holds the output open", async () => {
    const folder = openFolder();
    const script = `(echo $$ > /dev/null; exec sleep 60) & echo $! > ${folder}/left; echo secret`;
    const startedAt = performance.now();
    expect(await open().start(shell(script)).outcome).toEqual({ kind: "printed", text: "secret" });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    const left = await readPid(join(folder, "left"));
    await eventually(() => isGone(left), "the end of the process that was left");
  });

  test("A process that left the group and holds the output open delays the secret only for a moment", async () => {
    const folder = openFolder();
    const script = `setsid sh -c 'echo $$ > ${folder}/escaped; exec sleep 60' & while [ ! -s ${folder}/escaped ]; do sleep 0.01; done; echo secret`;
    expect(await open({ drainMs: 50 }).start(shell(script)).outcome).toEqual({ kind: "printed", text: "secret" });
    process.kill(await readPid(join(folder, "escaped")), "SIGKILL");
  });

  test("A command that closes its output and continues is killed after its time", async () => {
    const outcome = await run("echo secret; exec >&-; sleep 60", { timeoutMs: 300 });
    expect(outcome).toEqual({ kind: "failed", reason: "did not end within 0.3 seconds and was killed" });
  });

  test("A command that reads its input gets the end of it at once", async () => {
    expect(await run("cat; echo secret")).toEqual({ kind: "printed", text: "secret" });
  });

  test("A command has no terminal, so it cannot wait for a passphrase to be typed", async () => {
    expect(await run("(: < /dev/tty) 2> /dev/null && echo terminal || echo none")).toEqual({
      kind: "printed",
      text: "none",
    });
  });

  test("close() kills running commands with their children, and refuses new ones", async () => {
    const folder = openFolder();
    const runner = open();
    const outcome = runner.start(
      shell(`sleep 60 & echo $! > ${folder}/child; echo $$ > ${folder}/parent; wait`),
    ).outcome;
    const pids = [await readPid(join(folder, "child")), await readPid(join(folder, "parent"))];
    runner.close();
    const reason = "was ended, because the gateway no longer needs it";
    expect(await outcome).toEqual({ kind: "failed", reason });
    await eventually(() => pids.every(isGone), "the end of both processes");
    expect(await runner.start(shell("echo secret")).outcome).toEqual({ kind: "failed", reason });
  });

  test("Ended commands leave no zombie", async () => {
    const folder = openFolder();
    const runner = open({ timeoutMs: 300 });
    await Promise.all(
      ["exit 0", "exit 1", "sleep 60", "yes"].map(
        (end, at) => runner.start(shell(`echo $$ > ${folder}/${at}; ${end}`)).outcome,
      ),
    );
    for (const at of [0, 1, 2, 3]) {
      const pid = await readPid(join(folder, String(at)));
      await eventually(() => !isAlive(pid), "that the exit status was read");
    }
  });

  test("A process that exits in the middle of a run takes the command with it", async () => {
    const folder = openFolder();
    const script = `
      const { createCommandRunner } = await import("${new URL("../../../src/data-plane/credential/run-command.ts", import.meta.url).href}");
      const { existsSync } = await import("node:fs");
      createCommandRunner().start({ argv: ["sh", "-c", "echo $$ > ${folder}/pid; sleep 60"], directory: "/", environment: { PATH: process.env.PATH } });
      setInterval(() => existsSync("${folder}/pid") && process.exit(0), 10);
    `;
    execFileSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script]);
    const pid = await readPid(join(folder, "pid"));
    await eventually(() => isGone(pid), "the end of the command");
  });
});

describe("The start of a command", () => {
  test("No shell reads the arguments", async () => {
    const argv = ["printf", "%s", "$(echo injected) `echo x` ; exit 1 && $HOME * | >"];
    const outcome = await open().start({ argv, directory: "/", environment: ENVIRONMENT }).outcome;
    expect(outcome).toEqual({ kind: "printed", text: argv[2] });
  });

  test("A program without a slash is searched in the PATH of the command, and one with a slash from its directory", async () => {
    const folder = openFolder();
    mkdirSync(join(folder, "bin"));
    writeFileSync(join(folder, "bin/print-secret"), "#!/bin/sh\npwd\n");
    chmodSync(join(folder, "bin/print-secret"), 0o755);
    const environment = { PATH: `${join(folder, "bin")}:${ENVIRONMENT.PATH}` };
    const start = (program: string, directory: string) =>
      open().start({ argv: [program], directory, environment }).outcome;
    expect(await start("print-secret", "/")).toEqual({ kind: "printed", text: "/" });
    expect(await start("./bin/print-secret", folder)).toEqual({ kind: "printed", text: folder });
    expect(await start("bin/print-secret", "/")).toMatchObject({ kind: "failed" });
  });

  test("A command sees its own environment, and none of the gateway's files and sockets", async () => {
    const outcome = await open().start(shell("env | cut -d= -f1 | sort | tr '\\n' ' '", "/", { ONLY: "this" })).outcome;
    expect(outcome).toEqual({ kind: "printed", text: "ONLY PATH PWD" });
    const file = openSync(import.meta.filename, "r");
    onTestFinished(() => closeSync(file));
    const links = "for each in /proc/self/fd/*; do readlink $each; done | tr '\\n' ' '";
    const files = (await run(links)) as { text: string };
    expect(files.text).toContain("/dev/null");
    expect(files.text).not.toMatch(/run-command\.test|socket:/);
  });

  test.each([
    ["does not exist", ["byteproxy-no-such-program"], "there is no such program"],
    ["has an interpreter that does not exist", ["./no-interpreter"], "there is no such program"],
    ["is not executable", ["./not-executable"], "the program is not executable, or the permissions do not allow it"],
    ["is a folder", ["./"], "the program is not executable, or the permissions do not allow it"],
    ["has too many arguments", ["true", "x".repeat(3_000_000)], "its arguments and its environment are too long"],
    ["has a NUL byte in its arguments", ["true", "a\0b"], "the system error is ERR_INVALID_ARG_VALUE"],
  ])("A program that %s is refused with that reason", async (_, argv, reason) => {
    const directory = openFolder();
    writeFileSync(join(directory, "not-executable"), "#!/bin/sh\necho secret\n");
    writeFileSync(join(directory, "no-interpreter"), "#!/no/such/interpreter\n");
    chmodSync(join(directory, "no-interpreter"), 0o755);
    const outcome = await open().start({ argv, directory, environment: ENVIRONMENT }).outcome;
    expect(outcome).toEqual({ kind: "failed", reason: `could not be started: ${reason}` });
  });

  test("A process that may open no more files gets a reason, not an uncaught error", async () => {
    const script = `
      const { openSync } = await import("node:fs");
      const { createCommandRunner } = await import("${new URL("../../../src/data-plane/credential/run-command.ts", import.meta.url).href}");
      const runner = createCommandRunner();
      const command = { argv: ["echo", "secret"], directory: "/", environment: { PATH: process.env.PATH } };
      console.log((await runner.start(command).outcome).kind);
      try { for (;;) openSync("/dev/null", "r"); } catch {}
      process.stdout.write(JSON.stringify(await runner.start(command).outcome) + "\\n");
      process.exit(0);
    `;
    const limited = `ulimit -n 64; exec "$0" --import tsx --input-type=module -e "$1"`;
    const text = execFileSync("sh", ["-c", limited, process.execPath, script], { encoding: "utf8" });
    expect(text).toBe('printed\n{"kind":"failed","reason":"could not be started: too many files are open"}\n');
  });
});
