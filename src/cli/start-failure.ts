/** What keeps a well-configured gateway from starting, in one line: what, why and the mend. */
import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { ConfigProblems } from "../config/problems.ts";
import { DataDirInUse } from "../stores/data-dir-lock.ts";
import { StateFileUnusable } from "../stores/state-file.ts";
import { CliFailure } from "./cli-failure.ts";
import { findPortHolder } from "./port-holder.ts";

class StartFailure extends Error {}

/** What the stores do with their files. */
const FILE_CALLS: ReadonlySet<string> = new Set([
  "open",
  "read",
  "write",
  "fsync",
  "rename",
  "unlink",
  "rm",
  "copyfile",
]);

/**
 * Makes the folder for run-time state, mode 0700. Returns a warning about one that is there already and open to others: it may
 * be a volume that is meant to be so, and is not changed. @throws an error that explainStartFailure knows.
 */
export function checkDataDir(path: string): string | undefined {
  try {
    makeFolder(path);
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    const mode = statSync(path).mode & 0o777;
    if ((mode & 0o022) === 0) return undefined;
    return `DATA_DIR ${path} can be written by other users (mode ${mode.toString(8).padStart(4, "0")}): chmod 700 keeps them out`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new StartFailure(
      `DATA_DIR ${path} cannot be written (${code}); make it writable for this user, or name another folder with DATA_DIR=.`,
    );
  }
}

/** Before the DATA_DIR is locked: who starts a gateway twice is told of the port first. @throws what node:net raised. */
export async function checkAddress(port: number, host: string): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen({ port, host }, resolve);
  });
  await new Promise((resolve) => probe.close(resolve));
}

/** What keeps a start from listening there, in words that others may follow; undefined where nothing does. */
export async function findAddressObstacle(port: number, host: string): Promise<string | undefined> {
  try {
    await checkAddress(port, host);
    return undefined;
  } catch (error) {
    const words = explainStartFailure(error);
    if (words === undefined) throw error;
    return words.replace(/\.$/, "");
  }
}

/** Folder by folder: the recursive mode of Node 20 never returns where a folder exists and takes no new ones (/proc). */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (!existsSync(parent)) makeFolder(parent);
  mkdirSync(path, { mode: 0o700 });
}

/** What a user can mend as CliFailure; a mistake of ours as it is. */
export function startFailure(error: unknown): unknown {
  if (error instanceof ConfigProblems) return new CliFailure(2, error.problems);
  const words = explainStartFailure(error);
  return words === undefined ? error : new CliFailure(1, [words]);
}

/** Undefined for what is no fault of the machine or its operator: a mistake of ours, which keeps its stack trace. */
export function explainStartFailure(error: unknown): string | undefined {
  if (error instanceof StartFailure || error instanceof DataDirInUse || error instanceof StateFileUnusable) {
    return error.message;
  }
  const {
    code,
    syscall = "",
    path,
    port,
    address,
  } = error as NodeJS.ErrnoException & { port?: number; address?: string };
  if (FILE_CALLS.has(syscall)) {
    return `DATA_DIR cannot be used: ${syscall}${path === undefined ? "" : ` of ${path}`} failed with ${code}; give it space and this user the right to write, or name another folder with DATA_DIR=.`;
  }
  if (syscall !== "listen" && syscall !== "getaddrinfo") return undefined;
  switch (code) {
    case "EADDRINUSE":
      return `Port ${port} on ${address} is in use by ${findPortHolder(port ?? 0, address ?? "") ?? "another process"}; stop it, or choose another port with PORT= (or MANAGEMENT_PORT=).`;
    case "EACCES":
      return `Port ${port} on ${address} may not be opened by this user; choose one above 1023 with PORT=.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `HOST is not an address of this machine (${code}); use 127.0.0.1, or 0.0.0.0 for all of them.`;
    default:
      return `Listening failed with ${code}; check HOST and PORT.`;
  }
}
