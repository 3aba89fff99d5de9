/**
 * Adds a service to the services file of this folder, which may name every secret.
 * Invariant: the file is replaced as a whole, or not changed, by one command at a time; its mode stays. What it held before has the same
 * meaning after.
 */
import { lstatSync, realpathSync, statSync } from "node:fs";
import { dirname, relative } from "node:path";
import { addServiceToText } from "../config/edit-services-file.ts";
import { readEnvironment } from "../config/env.ts";
import { showPath } from "../config/problems.ts";
import { readTextFile } from "../config/read-file.ts";
import { readSettings } from "../config/read-settings.ts";
import { defineService } from "../config/services-file.ts";
import { NotDurable, replaceFile } from "../stores/state-file.ts";
import { CliFailure } from "./cli-failure.ts";
import { makeFolder } from "./output.ts";
import { withFileLock } from "./with-file-lock.ts";

/** @param config of the service, as in the file. Returns the path of the file. @throws CliFailure */
export async function addToServicesFile(key: string, config: unknown): Promise<string> {
  const path = servicesFilePath();
  const shown = relative(process.cwd(), path).startsWith("..") ? path : relative(process.cwd(), path);
  makeFolder(dirname(path));
  // A symbolic link stays one: the file that it leads to is replaced.
  const file = fileOf(path, shown);
  await withFileLock(file, async () => {
    const reading = readTextFile(file, true, 16);
    if (reading.state === "unreadable") throw new CliFailure(2, [`${shown} cannot be read: ${reading.reason}`]);
    const edited = addServiceToText(reading.state === "read" ? reading.text : undefined, key, config);
    if ("problems" in edited) {
      throw new CliFailure(
        2,
        edited.problems.map((problem) => `${shown}:${problem}`),
      );
    }
    await write(file, shown, edited.text);
  });
  return shown;
}

function fileOf(path: string, shown: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
    const reason = code === "ENOENT" ? "it is a link to a file that does not exist" : `the system error is ${code}`;
    throw new CliFailure(2, [`${shown} cannot be read: ${reason}`]);
  }
}

/** @throws CliFailure for a service that the services file may not have. */
export function checkService(key: string, config: unknown): void {
  const defined = defineService(key, config, "file", false);
  if (!("problems" in defined)) return;
  const lines = defined.problems.map(({ path, text }) => `  ${showPath(path.slice(2)) || "key"}: ${text}`);
  throw new CliFailure(2, ["The service is not valid:", ...lines]);
}

function servicesFilePath(): string {
  const problems: string[] = [];
  const { settings } = readSettings(readEnvironment().variables, process.cwd(), problems);
  const found = problems.filter((line) => line.startsWith("CONFIG_FILE"));
  if (found.length > 0) throw new CliFailure(2, found);
  return settings.CONFIG_FILE;
}

const ownerOf = (path: string) => {
  const { uid, gid } = statSync(path);
  return { uid, gid };
};

async function write(path: string, shown: string, text: string): Promise<void> {
  try {
    const owner = statSync(path, { throwIfNoEntry: false }) ?? { ...ownerOf(dirname(path)), mode: 0o644 };
    await replaceFile(path, [text], owner);
  } catch (error) {
    if (error instanceof NotDurable) return;
    throw new CliFailure(1, [`${shown} could not be written: ${(error as NodeJS.ErrnoException).code}`]);
  }
}
