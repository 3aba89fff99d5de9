/**
 * Whether another user of this machine may change a file whose content the gateway executes.
 * Invariant: the file and its folder are checked, because a user who may write the folder can replace the file.
 */
import { accessSync, constants, realpathSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { definedSecrets } from "./credential-source.ts";
import type { DefinedService } from "./services-file.ts";
import type { FoundProblem } from "./translate-issue.ts";

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/**
 * @param uid of this process; undefined where the system has no users of this kind: then nothing is found.
 * @returns what permits the change and how to end it, as "the file … (mode 0666); run chmod …"; undefined if only this user and root may.
 */
export function findOtherWriter(path: string, uid: number | undefined = process.geteuid?.()): string | undefined {
  if (uid === undefined) return undefined;
  const file = realpathSync(path);
  const folder = dirname(file);
  const state = statSync(file);
  const folderState = statSync(folder);
  const isFolderOpen = (folderState.mode & WRITABLE_BY_OTHERS) !== 0 && (folderState.mode & STICKY) === 0;
  return (
    foreignOwner("the file", file, state, uid) ??
    ((state.mode & WRITABLE_BY_OTHERS) !== 0 ? openTo("the file", file, state) : undefined) ??
    foreignOwner("the folder", folder, folderState, uid) ??
    // Kubernetes mounts the folder of a ConfigMap with mode 0777, and read-only.
    (isFolderOpen && !isReadOnly(folder) ? openTo("the folder", folder, folderState) : undefined)
  );
}

/** A problem for each command in the services file, if another user may change the file. @param path of the file. */
export function untrustedCommands(services: readonly DefinedService[], path: string): FoundProblem[] {
  const commands = services.flatMap(({ key, definition: { auth } }) =>
    (auth === undefined ? [] : definedSecrets(auth))
      .filter(({ origin }) => origin.command !== undefined)
      .map((secret) => ["services", key, ...secret.path]),
  );
  const writer = commands.length === 0 ? undefined : findOtherWriter(path);
  if (writer === undefined) return [];
  return commands.map((command) => ({
    path: command,
    at: "value",
    text: `found a command, allowed: in a file that only this user may change, but ${writer}`,
  }));
}

function foreignOwner(name: string, path: string, { uid: owner }: Stats, uid: number): string | undefined {
  if (owner === uid || owner === 0) return undefined;
  return `${name} ${path} belongs to another user (uid ${owner}, this process has ${uid}); make this user or root its owner (chown)`;
}

function openTo(name: string, path: string, { mode }: Stats): string {
  const shown = (mode & 0o777).toString(8).padStart(4, "0");
  return `${name} ${path} can be written by other users (mode ${shown}); check its content and run chmod go-w on it`;
}

/** The whole file system, for every user. */
function isReadOnly(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EROFS";
  }
}
