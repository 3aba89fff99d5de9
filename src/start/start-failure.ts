/**
 * What prevents the gateway from starting on this machine, in one line: what happened, why, and what to do.
 * Invariant: an error that is neither the operator's nor the machine's is a bug of ours and keeps its stack trace.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { endianness } from "node:os";
import { basename } from "node:path";
import ipaddr from "ipaddr.js";
import { CliFailure } from "../cli/cli-failure.ts";
import { ConfigProblems } from "../config/problems.ts";
import { HooksUnusable } from "../hooks/hook-loader.ts";
import { openListeners } from "../perimeter/open-listeners.ts";
import { CertificateUnusable } from "../perimeter/server-certificate.ts";
import { PortUnavailable } from "../services/port-unavailable.ts";
import { DataDirInUse } from "../stores/data-dir-lock.ts";
import { StateFileUnusable } from "../stores/state-file.ts";
import { DataDirUnusable } from "./check-data-dir.ts";

/** The system calls by which the stores use their files. */
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
 * Checks that the addresses are free. It runs before DATA_DIR is locked, so that the second start of one gateway reports the port.
 * @throws the error of node:net.
 */
export async function checkAddress(port: number, host: string): Promise<void> {
  const probe = await openListeners([createServer(), createServer()], port, host);
  await Promise.all(probe.map(({ server }) => new Promise((resolve) => server.close(resolve))));
}

/**
 * Why the gateway could not listen on this address, without a period at the end; undefined when it could.
 * @param service the key of the service whose port it is.
 */
export async function findAddressObstacle(port: number, host: string, service?: string): Promise<string | undefined> {
  try {
    await checkAddress(port, host);
    return undefined;
  } catch (error) {
    const reason = explainStartFailure(service === undefined ? error : new PortUnavailable(service, port, error));
    if (reason === undefined) throw error;
    return reason.replace(/\.$/, "");
  }
}

/** A CliFailure for an error that the operator can fix; any other error unchanged. */
export function startFailure(error: unknown): unknown {
  if (error instanceof ConfigProblems) return new CliFailure(2, error.problems);
  const reason = explainStartFailure(error);
  return reason === undefined ? error : new CliFailure(1, [reason]);
}

/** Their messages are complete. */
const OPERATOR_ERRORS = [DataDirUnusable, DataDirInUse, StateFileUnusable, CertificateUnusable, HooksUnusable];

/** Undefined for an error that is a bug of ours. */
export function explainStartFailure(error: unknown): string | undefined {
  if (error instanceof PortUnavailable) {
    return explainListenFailure(error.cause, `choose another port for the service ${error.service}`);
  }
  if (OPERATOR_ERRORS.some((kind) => error instanceof kind)) return (error as Error).message;
  const { code, syscall = "", path } = error as NodeJS.ErrnoException;
  if (FILE_CALLS.has(syscall)) {
    const call = path === undefined ? syscall : `${syscall} of ${path}`;
    return `DATA_DIR cannot be used: ${call} failed with ${code}; check its free space and permissions, or set DATA_DIR to another folder.`;
  }
  if (syscall !== "listen" && syscall !== "getaddrinfo") return undefined;
  return explainListenFailure(error as ListenError, "choose another port with PORT= (or MANAGEMENT_PORT=)");
}

type ListenError = NodeJS.ErrnoException & { readonly port?: number; readonly address?: string };

/** @param choice how to set another port. */
function explainListenFailure({ code, port, address }: ListenError, choice: string): string {
  switch (code) {
    case "EADDRINUSE": {
      const holder = findPortHolder(port ?? 0, address ?? "") ?? "another process";
      return `Port ${port} on ${address} is in use by ${holder}; stop that process, or ${choice}.`;
    }
    case "EACCES":
      return `This user may not open port ${port} on ${address}; choose a port above 1023 with PORT=.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `HOST is not an address of this machine (${code}); use 127.0.0.1, or 0.0.0.0 for all addresses.`;
    default:
      return `The gateway could not listen (${code}); check HOST and PORT.`;
  }
}

/** The state of a listening socket in /proc/net/tcp. */
const LISTENING = "0A";

/**
 * The process that listens on this port, as `node, process 4711`. Undefined when the system does not show it: Linux does, for
 * processes that this user may inspect.
 * @param address another process may have the same port on another address.
 */
export function findPortHolder(port: number, address: string): string | undefined {
  const inodes = new Set(["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) => listeningInodes(table, port, address)));
  if (inodes.size === 0) return undefined;
  for (const pid of entriesOf("/proc").filter((name) => /^\d+$/.test(name))) {
    const holds = entriesOf(`/proc/${pid}/fd`).some((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`)));
    if (holds) return `${programOf(pid)}, process ${pid}`;
  }
  return undefined;
}

/** The name of the executable: the kernel's name of a process is that of its main thread, which Node 24 calls MainThread. */
function programOf(pid: string): string {
  const file = basename(linkOf(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, ""));
  return (file || read(`/proc/${pid}/comm`)).replace(/[^\x20-\x7e]/g, "");
}

/** In the form of the links in /proc/<pid>/fd. */
function listeningInodes(table: string, port: number, address: string): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return read(table)
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = "", , state]) => {
      const [heldAddress = "", heldPort] = local.split(":");
      return state === LISTENING && heldPort === hex && isSameListener(addressIn(heldAddress), address);
    })
    .map((fields) => `socket:[${fields[9]}]`);
}

/** The table has words of four bytes, each in this machine's byte order. */
function addressIn(hex: string): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => {
    const inOrder = word.match(/../g) ?? [];
    return endianness() === "LE" ? inOrder.reverse() : inOrder;
  });
  return plainAddress(ipaddr.fromByteArray(bytes.map((byte) => Number.parseInt(byte, 16))).toString());
}

/** An IPv4 address within IPv6 is the IPv4 one. */
const plainAddress = (address: string) => (ipaddr.isValid(address) ? ipaddr.process(address).toString() : address);

const ALL_ADDRESSES = new Set(["0.0.0.0", "::"]);

/** A listener on all addresses conflicts with one on any address, and the other way round. */
function isSameListener(held: string, wanted: string): boolean {
  return ALL_ADDRESSES.has(held) || ALL_ADDRESSES.has(plainAddress(wanted)) || held === plainAddress(wanted);
}

/** Empty for a process that has ended, or that this user may not inspect. */
function orEmpty<T>(empty: T, read: () => T): T {
  try {
    return read();
  } catch {
    return empty;
  }
}
const read = (path: string) => orEmpty("", () => readFileSync(path, "latin1"));
const linkOf = (path: string) => orEmpty("", () => readlinkSync(path));
const entriesOf = (path: string) => orEmpty<string[]>([], () => readdirSync(path));
