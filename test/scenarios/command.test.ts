/** The command `byteproxy` as a checkout has it: bin/byteproxy.js builds when needed and runs the program in its own process. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { builtMain } from "../support/built.ts";
import { eventually } from "../support/eventually.ts";

const root = resolve(import.meta.dirname, "../..");
/** npm and a shell take a second each on a busy machine. */
const SLOW_MS = 30_000;

/** A checkout whose build only writes dist/main.js with this text. */
function createCheckout(program = 'console.log("built")'): { folder: string; bin: string } {
  const folder = tempFolder();
  mkdirSync(join(folder, "src"));
  writeFileSync(join(folder, "src", "main.ts"), "");
  mkdirSync(join(folder, "node_modules", "typescript"), { recursive: true });
  const build = `fs.mkdirSync('dist',{recursive:true});fs.writeFileSync('dist/main.js',${JSON.stringify(program).replaceAll('"', "'")})`;
  const scripts = { build: `node -e "${build}"` };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "byteproxy", type: "module", scripts }));
  cpSync(join(root, "bin"), join(folder, "bin"), { recursive: true });
  return { folder, bin: join(folder, "bin/byteproxy.js") };
}

const runBin = (bin: string) => spawnSync(process.execPath, [bin], { encoding: "utf8" });

describe("byteproxy in a checkout", () => {
  test("The command is executable, as git stores it", () => {
    const entry = execFileSync("git", ["ls-files", "--stage", "bin/byteproxy.js"], { cwd: root, encoding: "utf8" });
    expect(entry).toMatch(/^100755 /);
  });

  test(
    "The command builds first where nothing is built, says so on stderr, and then runs",
    () => {
      const { bin } = createCheckout("console.log(1)");
      const first = runBin(bin);
      expect(first).toMatchObject({ status: 0, stdout: "1\n" });
      expect(first.stderr).toContain("Building ByteProxy");
      const second = runBin(bin);
      expect(second).toMatchObject({ status: 0, stdout: "1\n", stderr: "" });
    },
    SLOW_MS,
  );

  test(
    "The command builds again after a change of the source, and only then",
    () => {
      const { bin, folder } = createCheckout("console.log(1)");
      runBin(bin);
      const later = new Date(Date.now() + 60_000);
      utimesSync(join(folder, "src", "main.ts"), later, later);
      expect(runBin(bin).stderr).toContain("Building ByteProxy");
    },
    SLOW_MS,
  );

  test("The command says what to do where the packages are not installed", () => {
    const folder = tempFolder();
    mkdirSync(join(folder, "src"));
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    cpSync(join(root, "bin"), join(folder, "bin"), { recursive: true });
    const { status, stderr, stdout } = runBin(join(folder, "bin/byteproxy.js"));
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("run `npm ci`");
    expect(existsSync(join(folder, "dist"))).toBe(false);
  });

  test("The package of a release contains the command, and no source maps", () => {
    const { files, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      files: string[];
      bin: Record<string, string>;
    };
    expect(bin.byteproxy).toBe("bin/byteproxy.js");
    expect(files).toEqual(expect.arrayContaining(["bin", "dist", "!dist/**/*.map"]));
  });
});

/** The gateway behind the command, as npx starts it: a child of a shell that passes no signal on. */
function startThroughShell(): { shell: ChildProcess; out: () => string } {
  const folder = tempFolder();
  cpSync(join(root, "bin"), join(folder, "bin"), { recursive: true });
  symlinkSync(resolve(builtMain, ".."), join(folder, "dist"));
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  const shell = spawn("sh", ["-c", `"${process.execPath}" bin/byteproxy.js start; true`], {
    cwd: folder,
    env: { PATH: process.env.PATH, PORT: "0", LOG_FORMAT: "json", SHUTDOWN_DELAY: "0", npm_command: "exec" },
  });
  let out = "";
  shell.stdout?.on("data", (chunk) => {
    out += chunk;
  });
  return { shell, out: () => out };
}

test(
  "The gateway that npx starts drains and ends when npx ends, so that no process stays behind",
  async () => {
    const { shell, out } = startThroughShell();
    const address = await eventually(
      () => /listens on (http:\/\/[^ "]+)/.exec(out())?.[1],
      "the gateway to listen",
      20_000,
    );
    const [pid = 0] = execFileSync("pgrep", ["-P", String(shell.pid)], { encoding: "utf8" })
      .split("\n")
      .map(Number);
    onTestFinished(() => {
      if (isAlive(pid)) process.kill(pid, "SIGKILL");
    });
    expect((await fetch(`${address}/health`)).status).toBe(200);
    shell.kill("SIGKILL");
    await eventually(() => (isAlive(pid) ? undefined : true), "the gateway to end", 20_000);
    expect(out()).toContain("SIGTERM: ");
  },
  SLOW_MS,
);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
