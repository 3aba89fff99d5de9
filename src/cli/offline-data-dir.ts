/**
 * DATA_DIR in the hands of a command, while no gateway runs on it.
 * Invariant: nothing is read or written there without its lock, and every failure is told in words.
 */
import { DataDirInUse, lockDataDir } from "../stores/data-dir-lock.ts";
import { CliFailure } from "./cli-failure.ts";
import { remark } from "./output.ts";
import { checkDataDir, startFailure } from "./start-failure.ts";

export interface HeldDataDir<T> {
  readonly content: T;
  /** Finishes what is being written and lets go of it. */
  close(): Promise<void>;
}

/** @param open is given the folder once it is held. @throws CliFailure */
export async function holdDataDir<T extends { close(): Promise<void> }>(
  folder: string,
  open: () => Promise<T>,
): Promise<HeldDataDir<T>> {
  try {
    const warning = checkDataDir(folder);
    if (warning !== undefined) remark(warning);
    const lock = await lockDataDir(folder);
    const content = await open().catch(async (error: unknown) => {
      await lock.release();
      throw error;
    });
    return {
      content,
      async close() {
        await content.close();
        await lock.release();
      },
    };
  } catch (error) {
    throw explained(error);
  }
}

/** What a user can mend as CliFailure; anything else as it is. */
export function explained(error: unknown): unknown {
  if (!(error instanceof DataDirInUse)) return startFailure(error);
  const words = `DATA_DIR ${error.path} is in use by a running gateway (process ${error.pid}): leave --offline out, or stop it first.`;
  return new CliFailure(1, [words]);
}
