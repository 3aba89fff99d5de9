#!/usr/bin/env node
/**
 * The command `byteproxy`. In a checkout it builds the program first if the build is missing or older than its source.
 * Plain JavaScript, because it runs before anything is built. It runs the program in its own process, so that signals reach the gateway.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const program = join(root, "dist", "main.js");

const PARENT_CHECK_MS = 500;

if (process.env.npm_command === "exec") endWithParent();
// The package has no source: its build is complete.
if (existsSync(join(root, "src")) && needsBuild()) build();
await import("../dist/main.js");

/** npx signals only the shell that it starts, and the shell does not pass a signal on. */
function endWithParent() {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.kill(process.pid, "SIGTERM");
  }, PARENT_CHECK_MS).unref();
}

function needsBuild() {
  if (!existsSync(program)) return true;
  const builtAt = statSync(program).mtimeMs;
  const sources = readdirSync(join(root, "src"), { recursive: true }).map((name) => join(root, "src", String(name)));
  return [...sources, join(root, "package.json")].some((path) => statSync(path).mtimeMs > builtAt);
}

/** Prints to stderr only: a command's stdout may be JSON. */
function build() {
  if (!existsSync(join(root, "node_modules", "typescript"))) {
    process.stderr.write(`ByteProxy is not installed in ${root}: run \`npm ci\` there first.\n`);
    process.exit(1);
  }
  process.stderr.write("Building ByteProxy, which takes a few seconds after a change...\n");
  const { status, error } = spawnSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status === 0) return;
  process.stderr.write(`The build failed${error === undefined ? "" : `: ${error.message}`}.\n`);
  process.exit(1);
}
