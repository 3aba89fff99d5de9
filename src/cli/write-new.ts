/** Files that commands make: of their user's own, and never over one that is there. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { CliFailure } from "./cli-failure.ts";

/** Before there is anything to write: nobody waits for what cannot be kept. @throws CliFailure */
export function refuseExisting(path: string): void {
  if (existsSync(path)) throw alreadyThere(path);
}

export function alreadyThere(path: string): CliFailure {
  return new CliFailure(2, [`${path} is there already, and is not written over: name another file, or move it away.`]);
}

/** False where there is a file already: it is left as it is. @throws CliFailure */
export function writeNew(path: string, text: string, mode: number): boolean {
  // By the system, not by a look before: two commands at once write no file together, and no link is followed.
  return isNew(path, () => writeFileSync(path, text, { flag: "wx", mode }));
}

/** Where there is none. @throws CliFailure */
export function makeFolder(path: string): void {
  isNew(path, () => mkdirSync(path));
}

function isNew(path: string, make: () => void): boolean {
  try {
    make();
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    throw new CliFailure(1, [`${path} could not be written: ${code}`]);
  }
}
