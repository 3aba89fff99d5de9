/**
 * Reads the operator's files: the services file, env files, secrets.
 * Invariant: never throws and never reads more than a bound, so that a wrong path costs neither the start nor the memory.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

const MIB = 1024 * 1024;

export type FileReading =
  | { readonly state: "read"; readonly text: string }
  | { readonly state: "absent" }
  | { readonly state: "unreadable"; readonly reason: string };

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "the permissions do not allow reading it",
  EPERM: "the permissions do not allow reading it",
  EISDIR: "it is a directory",
  ELOOP: "it is a circle of links",
  ENAMETOOLONG: "the path is too long",
  ENXIO: "it is not a file",
  ERR_ENCODING_INVALID_ENCODED_DATA: "it is not UTF-8 text",
};

/**
 * The text of a UTF-8 file; `absent` only where nothing of that name exists.
 * @param maxMib a bound: more is unreadable.
 * @param isRegularOnly for a path that is not the operator's own: a pipe or a terminal would keep the process waiting.
 */
export function readTextFile(path: string, isRegularOnly = false, maxMib = 1): FileReading {
  try {
    const bytes = readBounded(path, isRegularOnly, maxMib * MIB);
    if (bytes === undefined) return { state: "unreadable", reason: `it is larger than ${maxMib} MiB` };
    return { state: "read", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    if (code === "ENOENT" || code === "ENOTDIR") return { state: "absent" };
    return { state: "unreadable", reason: REASONS[code] ?? `the system says ${code}` };
  }
}

/** Undefined for more than the bound. Reads in pieces because a pipe or a device has no size to ask for. */
function readBounded(path: string, isRegularOnly: boolean, maxBytes: number): Buffer | undefined {
  // Opening a pipe waits for its other end, unless it is told not to.
  const file = openSync(path, isRegularOnly ? constants.O_RDONLY | constants.O_NONBLOCK : "r");
  try {
    const stats = fstatSync(file);
    if (isRegularOnly && !stats.isFile()) throw Object.assign(new Error("no file"), { code: "ENXIO" });
    if (stats.isDirectory()) throw Object.assign(new Error("a directory"), { code: "EISDIR" });
    const bytes = Buffer.allocUnsafe(maxBytes + 1);
    let length = 0;
    while (length < bytes.length) {
      const count = readSync(file, bytes, length, bytes.length - length, null);
      if (count === 0) return bytes.subarray(0, length);
      length += count;
    }
    return undefined;
  } finally {
    closeSync(file);
  }
}

/** The text without the line breaks at its end, which editors and `echo` add to secrets. */
export function withoutTrailingNewlines(text: string): string {
  return text.replace(/[\r\n]+$/, "");
}
