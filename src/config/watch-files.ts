/**
 * Detects changed files by their contents: Kubernetes replaces symbolic links, and editors rewrite unchanged files.
 * Invariant: a change is reported once, after an interval without further changes. A file that disappears and returns unchanged
 * has not changed.
 */
import { hash } from "node:crypto";
import { readFileSync, statSync, unwatchFile, watchFile } from "node:fs";

export interface FileWatch {
  /**
   * Watches these files, absent ones too, instead of the previous ones.
   * @param readAt when the new ones among them were read, ms since the epoch: a later write counts as a change.
   */
  setPaths(paths: Iterable<string>, readAt: number): void;
  close(): void;
}

/** The timestamps of files may lag behind the clock by one tick of the kernel, ms. */
const FILE_CLOCK_MS = 10;

/** @param intervalMs between two checks of a file. @param onChange called once for changes that happen together. */
export function watchFiles(intervalMs: number, onChange: () => void): FileWatch {
  const digests = new Map<string, string>();
  let timer: NodeJS.Timeout | undefined;

  function onStat(path: string): void {
    const digest = digestOf(path);
    if (digest === digests.get(path)) return;
    digests.set(path, digest);
    noteChange();
  }
  function noteChange(): void {
    clearTimeout(timer);
    timer = setTimeout(onChange, intervalMs);
    timer.unref();
  }
  const listeners = new Map<string, () => void>();

  return {
    setPaths(paths, readAt) {
      const wanted = new Set(paths);
      for (const [path, listener] of listeners) {
        if (wanted.has(path)) continue;
        unwatchFile(path, listener);
        listeners.delete(path);
        digests.delete(path);
      }
      for (const path of wanted) {
        if (listeners.has(path)) continue;
        const listener = () => onStat(path);
        listeners.set(path, listener);
        digests.set(path, digestOf(path));
        watchFile(path, { interval: intervalMs, persistent: false }, listener);
        if (changedAt(path) >= readAt - FILE_CLOCK_MS) noteChange();
        // The watch compares with its own first reading, which happens a little after the one above.
        setTimeout(() => listeners.get(path) === listener && listener(), intervalMs).unref();
      }
    },
    close() {
      clearTimeout(timer);
      for (const [path, listener] of listeners) unwatchFile(path, listener);
      listeners.clear();
    },
  };
}

function digestOf(path: string): string {
  try {
    return hash("sha256", readFileSync(path), "hex");
  } catch {
    return "unreadable";
  }
}

/** Ms since the epoch; 0 for an absent file. */
function changedAt(path: string): number {
  try {
    return statSync(path).ctimeMs;
  } catch {
    return 0;
  }
}
