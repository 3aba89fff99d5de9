/** Whether a change could be stored now: tried, because a full or read-only disk shows only then. */
import { mkdtemp, open, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDS = {
  unwritable: {
    status: "fail",
    symptom: "changes over REST are refused with 500 and nothing is stored",
    fix: "Give DATA_DIR space, and this user the right to write in it.",
  },
  narrow: {
    status: "warn",
    symptom: "changes over REST will be refused soon",
    fix: "Make room on the file system of DATA_DIR.",
  },
  open: {
    status: "warn",
    symptom: "other users of the machine can change what is stored",
    fix: "chmod 700 the folder.",
  },
} as const;

const LITTLE_BYTES = 64 * 1024 * 1024;

export const dataDir: Check = {
  id: "data-dir",
  looksAt: "the folder for run-time state: a small file is written there and taken away again",
  finds: FINDS,
  async run({ stateFolder: path }) {
    if (path === undefined) return conclude([], "state is kept in memory only", { path: null });
    const code = await tryToWrite(path);
    if (code !== undefined) {
      return conclude([{ find: FINDS.unwritable, words: `writing to ${path} failed with ${code}` }], "", {
        path,
        code,
      });
    }
    const { bavail, bsize } = await statfs(path);
    const mode = (await stat(path)).mode & 0o777;
    const freeBytes = bavail * bsize;
    const problems: Problem[] = [];
    if (freeBytes < LITTLE_BYTES) problems.push({ find: FINDS.narrow, words: `${path} has ${freeBytes} bytes left` });
    const octal = mode.toString(8).padStart(4, "0");
    if ((mode & 0o022) !== 0) problems.push({ find: FINDS.open, words: `${path} can be written by others (${octal})` });
    return conclude(problems, `${path} can be written`, { path, mode: octal, freeBytes });
  },
};

/** The system's code for what went wrong. */
async function tryToWrite(path: string): Promise<string | undefined> {
  let folder: string | undefined;
  try {
    folder = await mkdtemp(join(path, ".diagnostics-"));
    const file = await open(join(folder, "probe"), "w", 0o600);
    try {
      await file.writeFile("x".repeat(4096));
      await file.sync();
    } finally {
      await file.close();
    }
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "an unknown error";
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}
