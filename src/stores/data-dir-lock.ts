/**
 * One process for each DATA_DIR: two that write the same files would undo each other's changes.
 * Invariant: the lock is a Unix socket in the folder whose process replies. A dead process does not reply, however it ended, so
 * a crash leaves nothing that an operator would have to remove.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, closeSync, existsSync, openSync, statSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const NAME = "lock";

/** How long the holder of a lock may take to identify itself, ms. */
const REPLY_MS = 2_000;

/** A socket's path is cut off at about a hundred bytes (unix(7)). */
const LONGEST_SOCKET_PATH = 100;

/** After taking over from a dead process, ms: long enough to see another process that does the same. */
const TAKE_OVER_MS = 50;

export class DataDirInUse extends Error {
  readonly path: string;
  /** Of the process that holds the folder; `unknown` where it sent none. */
  readonly pid: string;

  constructor(path: string, pid: string) {
    super(
      `DATA_DIR ${path} is in use by another gateway (process ${pid}); stop it, or set DATA_DIR to another folder.`,
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
  const address = resolveSocket(path);
  const token = randomUUID();
  try {
    let server = await listen(address.socket, token);
    if (server === undefined) {
      const stale = identityOf(address.socket);
      const holder = await findHolder(address.socket);
      if (holder !== undefined) throw new DataDirInUse(path, holder.pid);
      // Only the socket that did not reply: another process may have replaced it meanwhile.
      if (stale !== undefined && identityOf(address.socket) === stale) unlinkSync(address.socket);
      server = await listen(address.socket, token);
      await delay(TAKE_OVER_MS);
      const winner = await findHolder(address.socket);
      if (server === undefined || winner?.token !== token) {
        server?.close();
        throw new DataDirInUse(path, winner?.pid ?? "unknown");
      }
    }
    const held = server;
    return {
      release: () =>
        new Promise((resolve) => {
          // Removes the socket's file too.
          held.close(() => {
            address.close();
            resolve();
          });
        }),
    };
  } catch (error) {
    address.close();
    throw error;
  }
}

/** The process that holds the folder, found without changing anything; undefined where no process replies. */
export async function findDataDirHolder(path: string): Promise<string | undefined> {
  if (!existsSync(join(path, NAME))) return undefined;
  const address = resolveSocket(path);
  try {
    return (await findHolder(address.socket))?.pid;
  } finally {
    address.close();
  }
}

/** The socket's path; through a descriptor of the folder where the path itself would be too long. */
function resolveSocket(path: string): { readonly socket: string; close(): void } {
  const socket = join(path, NAME);
  if (Buffer.byteLength(socket) <= LONGEST_SOCKET_PATH || !existsSync("/proc/self/fd")) return { socket, close() {} };
  const folder = openSync(path, "r");
  return { socket: `/proc/self/fd/${folder}/${NAME}`, close: () => closeSync(folder) };
}

/** Undefined when a socket of that name exists, whether it replies or not. */
function listen(socket: string, token: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((client) => {
      client.on("error", () => {});
      client.end(`${process.pid} ${token}\n`);
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

/** The process that holds the lock; undefined when no process replies. */
function findHolder(socket: string): Promise<{ readonly pid: string; readonly token: string } | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const client = connect(socket);
    const timer = setTimeout(() => client.destroy(), REPLY_MS);
    client.on("connect", () => {
      // The process is alive, even if it is too busy to send more.
      text ||= " ";
    });
    client.on("data", (chunk) => {
      text += chunk;
    });
    client.on("error", () => {});
    client.on("close", () => {
      clearTimeout(timer);
      const [pid = "", token = ""] = text.trim().split(" ");
      resolve(text === "" ? undefined : { pid: pid === "" ? "unknown" : pid, token });
    });
  });
}

/** The inode number alone would not do: it is reused for the next file at once. */
function identityOf(socket: string): string | undefined {
  const found = statSync(socket, { throwIfNoEntry: false, bigint: true });
  return found && `${found.ino} ${found.ctimeNs}`;
}
