/**
 * Builds the gateway for tests that start processes, so that each process need not compile the sources.
 * The build runs before the first test, into a folder under node_modules, and only if the sources are newer.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const folder = join(root, "node_modules/.cache/byteproxy-test");
const stamp = join(folder, "built");

export const builtMain = join(folder, "dist/main.js");

/** The global setup of vitest. */
export function setup(): void {
  const sources = ["src", "config/recipes", "package.json", "tsconfig.json", "tsconfig.build.json"].map((name) =>
    join(root, name),
  );
  if (modifiedAt(stamp) >= Math.max(...sources.map(newest))) return;
  mkdirSync(folder, { recursive: true });
  const startedAt = new Date();
  const tsc = join(root, "node_modules/.bin/tsc");
  execFileSync(tsc, ["-p", join(root, "tsconfig.build.json"), "--outDir", join(folder, "dist")], { stdio: "inherit" });
  // The gateway reads its version from package.json.
  copyFileSync(join(root, "package.json"), join(folder, "package.json"));
  cpSync(join(root, "config/recipes"), join(folder, "config/recipes"), { recursive: true });
  writeFileSync(stamp, startedAt.toISOString());
}

function newest(path: string): number {
  if (!statSync(path).isDirectory()) return modifiedAt(path);
  return Math.max(...readdirSync(path, { recursive: true }).map((name) => modifiedAt(join(path, String(name)))));
}

function modifiedAt(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
