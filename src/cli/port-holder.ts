/** Which process listens on a port, where the system tells: Linux does, of processes that this user may look at. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The state of a socket that listens, in /proc/net/tcp. */
const LISTENING = "0A";

/** `node, process 4711`; undefined where it is not told. */
export function findPortHolder(port: number): string | undefined {
  const inodes = new Set(["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) => listeningInodes(table, port)));
  if (inodes.size === 0) return undefined;
  for (const pid of entriesOf("/proc").filter((name) => /^\d+$/.test(name))) {
    const holds = entriesOf(`/proc/${pid}/fd`).some((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`)));
    if (holds) return `${read(`/proc/${pid}/comm`).replace(/[^\x20-\x7e]/g, "")}, process ${pid}`;
  }
  return undefined;
}

/** As the links in /proc/<pid>/fd name them. */
function listeningInodes(table: string, port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return read(table)
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === LISTENING && local?.endsWith(`:${hex}`))
    .map((fields) => `socket:[${fields[9]}]`);
}

/** What is gone, or not ours to see, is empty. */
function orEmpty<T>(empty: T, look: () => T): T {
  try {
    return look();
  } catch {
    return empty;
  }
}
const read = (path: string) => orEmpty("", () => readFileSync(path, "latin1"));
const linkOf = (path: string) => orEmpty("", () => readlinkSync(path));
const entriesOf = (path: string) => orEmpty<string[]>([], () => readdirSync(path));
