/**
 * Creates DATA_DIR, and checks that no other user can have changed what is in it: its keys open the gateway.
 * Invariant: what every user may write, or what another user owns, stops the start. What a group may write becomes private.
 */
import { accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { FILES } from "../stores/open-stores.ts";

export class DataDirUnusable extends Error {}

const WRITABLE_BY_ALL = 0o002;
const WRITABLE_BY_GROUP = 0o020;

/**
 * Creates the folder for run-time state, mode 0700, or checks an existing one and its files.
 * @param uid of this process; undefined where the system has no users of this kind.
 * @returns warnings about what was made private. @throws DataDirUnusable
 */
export function checkDataDir(path: string, uid: number | undefined = process.geteuid?.()): string[] {
  try {
    makeFolder(path);
    if (!statSync(path).isDirectory()) {
      throw new DataDirUnusable(
        `DATA_DIR ${path} is a file, not a folder; move the file, or set DATA_DIR to another folder.`,
      );
    }
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    if (uid === undefined) return [];
    const files = FILES.map((name) => join(path, name));
    return [
      ...makePrivate({ path, name: "DATA_DIR", mode: 0o700 }, uid),
      ...files.flatMap((file) => makePrivate({ path: file, name: "The file", mode: 0o600 }, uid)),
    ];
  } catch (error) {
    if (error instanceof DataDirUnusable) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTDIR" || code === "EEXIST") {
      throw new DataDirUnusable(`DATA_DIR ${path} lies under a file; set DATA_DIR to a path in a folder.`);
    }
    throw new DataDirUnusable(
      `DATA_DIR ${path} cannot be written (${code}); make it writable for this user, or set DATA_DIR to another folder.`,
    );
  }
}

interface Place {
  readonly path: string;
  /** Before its path, in a message. */
  readonly name: string;
  readonly mode: number;
}

/** Nothing to do for a file that does not exist yet. @throws DataDirUnusable */
function makePrivate({ path, name, mode }: Place, uid: number): string[] {
  // A symbolic link that another user made leads to where that user wants it to.
  const link = lstatSync(path, { throwIfNoEntry: false });
  const state = statSync(path, { throwIfNoEntry: false });
  const foreign = [link, state].find((each): each is Stats => each !== undefined && each.uid !== uid);
  if (foreign !== undefined) {
    throw new DataDirUnusable(
      `${name} ${path} belongs to another user (uid ${foreign.uid}, this process has ${uid}), who can change what the gateway trusts; make this user its owner (chown), or set DATA_DIR to another folder, such as a subdirectory of a volume.`,
    );
  }
  if (state === undefined || (state.mode & (WRITABLE_BY_ALL | WRITABLE_BY_GROUP)) === 0) return [];
  const was = octal(state.mode);
  if ((state.mode & WRITABLE_BY_ALL) !== 0) {
    throw new DataDirUnusable(
      `${name} ${path} can be written by every user (mode ${was}), who can change what the gateway trusts; check its content and run chmod ${mode.toString(8)} on it, or set DATA_DIR to another folder.`,
    );
  }
  chmodSync(path, mode);
  return [`${name} ${path} could be written by its group (mode ${was}); its mode is ${octal(mode)} now`];
}

const octal = (mode: number) => (mode & 0o777).toString(8).padStart(4, "0");

/** One folder at a time: `recursive` of Node 20 never returns for an existing folder that accepts no new ones (/proc). */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (!existsSync(parent)) makeFolder(parent);
  mkdirSync(path, { mode: 0o700 });
}
