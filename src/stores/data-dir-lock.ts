/**
 * One process a DATA_DIR: two that write the same files would undo each other's changes.
 * Invariant: the lock is a Unix socket in the folder that answers. A process that dies, however it dies, answers no more,
 * so that a crash leaves nothing behind that anybody would have to remove.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, closeSync, existsSync, openSync, statSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const NAME = "lock";

/** How long the holder of a lock may take to say who it is, ms. */
const ANSWER_MS = 2_000;

/** A socket's path is cut off at about a hundred bytes (unix(7)). */
const LONGEST_SOCKET_PATH = 100;

/** After taking over from a dead process: time in which another that does the same would be seen, ms. */
const TAKE_OVER_MS = 50;

export class DataDirInUse extends Error {
  readonly path: string;
  /** Of the process that holds it; `unknown` where it did not say. */
  readonly pid: string;

  constructor(path: string, pid: string) {
    super(
      `DATA_DIR ${path} is in use by another gateway (process ${pid}); stop it, or name another folder with DATA_DIR=.`,
    );
    this.path = path;
    this.pid = pid;
  }
}

export interface DataDirLock {
  release(): Promise<void>;
}

/** @param path of a folder that exists. @throws DataDirInUse */
export async function lockDataDir(path: string): Promise<DataDirLock> {
  const place = openPlace(path);
  const token = randomUUID();
  try {
    let server = await listen(place.socket, token);
    if (server === undefined) {
      const stale = identityOf(place.socket);
      const holder = await ask(place.socket);
      if (holder !== undefined) throw new DataDirInUse(path, holder.pid);
      // Only the one that did not answer: another process may have taken its place meanwhile.
      if (stale !== undefined && identityOf(place.socket) === stale) unlinkSync(place.socket);
      server = await listen(place.socket, token);
      await delay(TAKE_OVER_MS);
      const winner = await ask(place.socket);
      if (server === undefined || winner?.token !== token) {
        server?.close();
        throw new DataDirInUse(path, winner?.pid ?? "unknown");
      }
    }
    const held = server;
    return {
      release: () =>
        new Promise((resolve) => {
          // Takes the socket's file away, too.
          held.close(() => {
            place.close();
            resolve();
          });
        }),
    };
  } catch (error) {
    place.close();
    throw error;
  }
}

/** The process that holds the folder, without touching what it holds; undefined where nobody answers. */
export async function findDataDirHolder(path: string): Promise<string | undefined> {
  if (!existsSync(join(path, NAME))) return undefined;
  const place = openPlace(path);
  try {
    return (await ask(place.socket))?.pid;
  } finally {
    place.close();
  }
}

/** The socket's path, through the open folder where it would be too long by itself. */
function openPlace(path: string): { readonly socket: string; close(): void } {
  const socket = join(path, NAME);
  if (Buffer.byteLength(socket) <= LONGEST_SOCKET_PATH || !existsSync("/proc/self/fd")) return { socket, close() {} };
  const folder = openSync(path, "r");
  return { socket: `/proc/self/fd/${folder}/${NAME}`, close: () => closeSync(folder) };
}

/** Undefined when there is a socket of that name already, whether it answers or not. */
function listen(socket: string, token: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((asking) => {
      asking.on("error", () => {});
      asking.end(`${process.pid} ${token}\n`);
    });
    server.unref();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(socket, () => {
      chmodSync(socket, 0o600);
      resolve(server);
    });
  });
}

/** Who holds the lock; undefined when nobody answers. */
function ask(socket: string): Promise<{ readonly pid: string; readonly token: string } | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const asking = connect(socket);
    const timer = setTimeout(() => asking.destroy(), ANSWER_MS);
    asking.on("connect", () => {
      // It lives, even if it is too busy to say more.
      text ||= " ";
    });
    asking.on("data", (chunk) => {
      text += chunk;
    });
    asking.on("error", () => {});
    asking.on("close", () => {
      clearTimeout(timer);
      const [pid = "", token = ""] = text.trim().split(" ");
      resolve(text === "" ? undefined : { pid: pid === "" ? "unknown" : pid, token });
    });
  });
}

/** An inode's number alone is given to the next file at once. */
function identityOf(socket: string): string | undefined {
  const found = statSync(socket, { throwIfNoEntry: false, bigint: true });
  return found && `${found.ino} ${found.ctimeNs}`;
}
