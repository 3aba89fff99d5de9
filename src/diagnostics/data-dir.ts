/** Checks whether a change could be stored now. It writes a file, because only a write reveals a full or read-only disk. */
import { existsSync } from "node:fs";
import { access, constants, mkdtemp, open, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Check, conclude, type OfflineState, type Problem, type Verdict } from "./check.ts";

const FINDINGS = {
  unwritable: {
    status: "fail",
    symptom: "changes over REST are refused with 500, and nothing is stored",
    fix: "Free space for DATA_DIR, and give the gateway's user permission to write to it.",
  },
  held: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, DATA_DIR is in use",
    fix: "Stop the gateway in evidence.holder, or set DATA_DIR to another directory. Each gateway needs its own.",
  },
  damaged: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, a file in DATA_DIR cannot be used",
    fix: "Restore the file from a backup, or move it away to start without its content.",
  },
  narrow: {
    status: "warn",
    symptom: "changes over REST will be refused soon",
    fix: "Free space on the file system of DATA_DIR.",
  },
  open: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, other users of the machine can change the stored state",
    fix: "Check the content of the directory, make the gateway's user its owner, and run chmod 700 on it. On a Kubernetes volume, set DATA_DIR to a subdirectory.",
  },
  shared: {
    status: "warn",
    symptom: "a group of users can change the stored state",
    fix: "Run chmod 700 on the directory. The next start does it, too.",
  },
} as const;

const LEAST_FREE_BYTES = 64 * 1024 * 1024;

export const dataDir: Check = {
  id: "data-dir",
  inspects: "the directory for run-time state: the check writes a small file there and removes it",
  findings: FINDINGS,
  async run({ stateFolder: path, offline }) {
    if (path === undefined) return conclude([], "state is in memory only", { path: null });
    if (offline !== undefined && !existsSync(path)) return checkAbsent(path);
    const holder = await offline?.findStateHolder();
    const problems = offline === undefined ? [] : obstacles(path, offline, holder);
    const code = await tryToWrite(path);
    if (code !== undefined) {
      const unwritable = { finding: FINDINGS.unwritable, message: `writing to ${path} failed with ${code}` };
      return conclude([unwritable, ...problems], "", { path, code });
    }
    const { bavail, bsize } = await statfs(path);
    const { mode: allBits, uid } = await stat(path);
    const mode = allBits & 0o777;
    const freeBytes = bavail * bsize;
    if (freeBytes < LEAST_FREE_BYTES) {
      problems.push({ finding: FINDINGS.narrow, message: `${path} has ${freeBytes} bytes left` });
    }
    const octal = mode.toString(8).padStart(4, "0");
    const own = process.geteuid?.() ?? uid;
    if (uid !== own) problems.push({ finding: FINDINGS.open, message: `${path} belongs to another user (uid ${uid})` });
    else if ((mode & 0o002) !== 0) {
      problems.push({ finding: FINDINGS.open, message: `${path} is writable by other users (${octal})` });
    } else if ((mode & 0o020) !== 0) {
      problems.push({ finding: FINDINGS.shared, message: `${path} is writable by its group (${octal})` });
    }
    const held = holder === undefined ? {} : { holder };
    return conclude(problems, `${path} is writable`, { path, mode: octal, freeBytes, ...held });
  },
};

function obstacles(path: string, { stateProblem }: OfflineState, holder: string | undefined): Problem[] {
  return [
    ...(holder === undefined
      ? []
      : [{ finding: FINDINGS.held, message: `${path} is in use by another gateway (process ${holder})` }]),
    ...(stateProblem === undefined ? [] : [{ finding: FINDINGS.damaged, message: stateProblem }]),
  ];
}

/** A start creates the directory and its parents. The check only reads, and creates none. */
async function checkAbsent(path: string): Promise<Verdict> {
  let parent = dirname(path);
  while (!existsSync(parent)) parent = dirname(parent);
  try {
    await access(parent, constants.W_OK | constants.X_OK);
    return conclude([], `${path} does not exist yet; the gateway creates it when it starts`, { path, mode: null });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = `${path} does not exist, and no directory can be created in ${parent} (${code})`;
    return conclude([{ finding: FINDINGS.unwritable, message }], "", { path, code });
  }
}

/** Returns the system's error code, or undefined if the write succeeded. */
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
