/**
 * The gateway as it is built, for tests that start processes: from the sources each of them would compile it anew.
 * Made before the first test, in a folder of its own beside the packages, and only where the sources are newer.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const folder = join(root, "node_modules/.cache/byteproxy-test");
const stamp = join(folder, "built");

export const builtMain = join(folder, "dist/main.js");

/** vitest's global setup. */
export function setup(): void {
  const sources = ["src", "package.json", "tsconfig.json", "tsconfig.build.json"].map((name) => join(root, name));
  if (modifiedAt(stamp) >= Math.max(...sources.map(newest))) return;
  mkdirSync(folder, { recursive: true });
  const begunAt = new Date();
  const tsc = join(root, "node_modules/.bin/tsc");
  execFileSync(tsc, ["-p", join(root, "tsconfig.build.json"), "--outDir", join(folder, "dist")], { stdio: "inherit" });
  // It says what version it is.
  copyFileSync(join(root, "package.json"), join(folder, "package.json"));
  writeFileSync(stamp, begunAt.toISOString());
}

function newest(path: string): number {
  if (!statSync(path).isDirectory()) return modifiedAt(path);
  return Math.max(...readdirSync(path, { recursive: true }).map((name) => modifiedAt(join(path, String(name)))));
}

function modifiedAt(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
