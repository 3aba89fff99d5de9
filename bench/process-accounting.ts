/** What the operating system says of a process: Linux's /proc, the one honest witness of CPU and memory. */
import { readFileSync } from "node:fs";

/** CPU time in µs that all threads of the process have used, user and system; a tick (1/100 s) is the resolution. */
export function cpuMicros(pid: number, ticksPerSecond: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The second field is the program's name in parentheses and may hold spaces: count from behind it (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / ticksPerSecond;
}

/** Resident memory in bytes now. */
export function residentBytes(pid: number): number {
  return statusBytes(pid, "VmRSS");
}

/** The most resident memory, in bytes, that the process ever had. */
export function peakResidentBytes(pid: number): number {
  return statusBytes(pid, "VmHWM");
}

function statusBytes(pid: number, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status);
  if (line === null) throw new Error(`process ${pid} has ended: no ${field}`);
  return Number(line[1]) * 1024;
}
