/**
 * Adds a service to the services file of this folder, which may name every secret.
 * Invariant: the file is replaced as a whole, or not changed; its mode stays. What it held before has the same meaning after.
 */
import { realpathSync, statSync } from "node:fs";
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

/** @param config of the service, as in the file. Returns the path of the file. @throws CliFailure */
export async function addToServicesFile(key: string, config: unknown): Promise<string> {
  const path = servicesFilePath();
  const shown = relative(process.cwd(), path).startsWith("..") ? path : relative(process.cwd(), path);
  const reading = readTextFile(path, false, 16);
  if (reading.state === "unreadable") throw new CliFailure(2, [`${shown} cannot be read: ${reading.reason}`]);
  const edited = addServiceToText(reading.state === "read" ? reading.text : undefined, key, config);
  if ("problems" in edited) {
    throw new CliFailure(
      2,
      edited.problems.map((problem) => `${shown}:${problem}`),
    );
  }
  await write(path, shown, edited.text);
  return shown;
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
  makeFolder(dirname(path));
  try {
    // A symbolic link stays one: the file that it leads to is replaced.
    const owner = statSync(path, { throwIfNoEntry: false });
    if (owner === undefined) await replaceFile(path, [text], { ...ownerOf(dirname(path)), mode: 0o644 });
    else await replaceFile(realpathSync(path), [text], owner);
  } catch (error) {
    if (error instanceof NotDurable) return;
    throw new CliFailure(1, [`${shown} could not be written: ${(error as NodeJS.ErrnoException).code}`]);
  }
}
