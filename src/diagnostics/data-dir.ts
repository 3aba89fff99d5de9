/** Whether a change could be stored now: tried, because a full or read-only disk shows only then. */
import { existsSync } from "node:fs";
import { access, constants, mkdtemp, open, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Check, conclude, type OfflineState, type Problem, type Verdict } from "./check.ts";

const FINDS = {
  unwritable: {
    status: "fail",
    symptom: "changes over REST are refused with 500 and nothing is stored",
    fix: "Give DATA_DIR space, and this user the right to write in it.",
  },
  held: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, DATA_DIR is in use",
    fix: "Stop the gateway that evidence.holder names, or name another folder with DATA_DIR: one gateway a folder.",
  },
  damaged: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, a file of DATA_DIR cannot be used",
    fix: "Put a copy of the file back, or move it away to start without what was in it.",
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
  async run({ stateFolder: path, offline }) {
    if (path === undefined) return conclude([], "state is kept in memory only", { path: null });
    if (offline !== undefined && !existsSync(path)) return ofAbsent(path);
    const holder = await offline?.findStateHolder();
    const problems = offline === undefined ? [] : obstacles(path, offline, holder);
    const code = await tryToWrite(path);
    if (code !== undefined) {
      const unwritable = { find: FINDS.unwritable, words: `writing to ${path} failed with ${code}` };
      return conclude([unwritable, ...problems], "", { path, code });
    }
    const { bavail, bsize } = await statfs(path);
    const mode = (await stat(path)).mode & 0o777;
    const freeBytes = bavail * bsize;
    if (freeBytes < LITTLE_BYTES) problems.push({ find: FINDS.narrow, words: `${path} has ${freeBytes} bytes left` });
    const octal = mode.toString(8).padStart(4, "0");
    if ((mode & 0o022) !== 0) problems.push({ find: FINDS.open, words: `${path} can be written by others (${octal})` });
    const held = holder === undefined ? {} : { holder };
    return conclude(problems, `${path} can be written`, { path, mode: octal, freeBytes, ...held });
  },
};

function obstacles(path: string, { stateProblem }: OfflineState, holder: string | undefined): Problem[] {
  return [
    ...(holder === undefined
      ? []
      : [{ find: FINDS.held, words: `${path} is in use by another gateway (process ${holder})` }]),
    ...(stateProblem === undefined ? [] : [{ find: FINDS.damaged, words: stateProblem }]),
  ];
}

/** A start makes it, and those above it. Nothing is tried: whoever looks makes no folders. */
async function ofAbsent(path: string): Promise<Verdict> {
  let parent = dirname(path);
  while (!existsSync(parent)) parent = dirname(parent);
  try {
    await access(parent, constants.W_OK | constants.X_OK);
    return conclude([], `${path} is not there yet; a start makes it`, { path, mode: null });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const words = `${path} is not there, and ${parent} takes no new folder (${code})`;
    return conclude([{ find: FINDS.unwritable, words }], "", { path, code });
  }
}

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
