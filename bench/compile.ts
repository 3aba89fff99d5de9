/**
 * Compiles bench/ to JavaScript in the temporary folder. Under tsx, the loader thread would count towards the contestants' memory
 * and CPU, while the gateway runs as plain `node dist/main.js`.
 */
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The files that run in processes of their own. */
const CONTEST = ["announce", "load", "origin", "contestants/*"];

/** Compiles these files of `<root>/bench`, and their imports. @returns the folder with the results. */
export function compileBench(root: string, folder: string, names: readonly string[] = CONTEST): string {
  const outDir = join(folder, "bench");
  // The compiled files find the packages and their module type as inside the repository.
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "dir");
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const config = join(folder, "tsconfig.json");
  const compilerOptions = { noEmit: false, noCheck: true, rootDir: join(root, "bench"), outDir };
  const include = names.map((name) => join(root, "bench", `${name}.ts`));
  writeFileSync(config, JSON.stringify({ extends: join(root, "tsconfig.json"), compilerOptions, include }));
  execFileSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", config], {
    stdio: "inherit",
  });
  return outDir;
}
