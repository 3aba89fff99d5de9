/**
 * Reads the operator's files: the services file, env files, secrets.
 * Invariant: never throws, and reads only up to a limit, so that a wrong path neither stops the process nor fills its memory.
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
  ELOOP: "its symbolic links form a loop",
  ENAMETOOLONG: "the path is too long",
  ENXIO: "it is not a file",
  ERR_ENCODING_INVALID_ENCODED_DATA: "it is not UTF-8 text",
};

/**
 * The text of a UTF-8 file; `absent` only if nothing exists at the path.
 * @param maxMib a larger file is unreadable.
 * @param isRegularOnly for a path that did not come from the operator: reading a pipe or a terminal could block the process.
 */
export function readTextFile(path: string, isRegularOnly = false, maxMib = 1): FileReading {
  try {
    const bytes = readBounded(path, isRegularOnly, maxMib * MIB);
    if (bytes === undefined) return { state: "unreadable", reason: `it is larger than ${maxMib} MiB` };
    return { state: "read", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    if (code === "ENOENT" || code === "ENOTDIR") return { state: "absent" };
    return { state: "unreadable", reason: REASONS[code] ?? `the system error is ${code}` };
  }
}

/** Undefined for a larger file. Reads in parts, because a pipe or a device has no size. */
function readBounded(path: string, isRegularOnly: boolean, maxBytes: number): Buffer | undefined {
  // Without O_NONBLOCK, opening a pipe waits for its other end.
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

/** Without the line breaks at the end, which editors and `echo` add to secrets. */
export function withoutTrailingNewlines(text: string): string {
  return text.replace(/[\r\n]+$/, "");
}
