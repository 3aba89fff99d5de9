/** Which process listens on an address and port, where the system tells: Linux does, of processes that this user may look at. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { endianness } from "node:os";
import { basename } from "node:path";
import ipaddr from "ipaddr.js";

/** The state of a socket that listens, in /proc/net/tcp. */
const LISTENING = "0A";

/** `node, process 4711`; undefined where it is not told. @param address that was asked for; others may have the same port. */
export function findPortHolder(port: number, address: string): string | undefined {
  const inodes = new Set(["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) => listeningInodes(table, port, address)));
  if (inodes.size === 0) return undefined;
  for (const pid of entriesOf("/proc").filter((name) => /^\d+$/.test(name))) {
    const holds = entriesOf(`/proc/${pid}/fd`).some((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`)));
    if (holds) return `${programOf(pid)}, process ${pid}`;
  }
  return undefined;
}

/** By its file: what the kernel calls a process is the name of its main thread, which Node from 24 on calls MainThread. */
function programOf(pid: string): string {
  const file = basename(linkOf(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, ""));
  return (file || read(`/proc/${pid}/comm`)).replace(/[^\x20-\x7e]/g, "");
}

/** As the links in /proc/<pid>/fd name them. */
function listeningInodes(table: string, port: number, address: string): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return read(table)
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = "", , state]) => {
      const [heldAddress = "", heldPort] = local.split(":");
      return state === LISTENING && heldPort === hex && standsInTheWay(addressIn(heldAddress), address);
    })
    .map((fields) => `socket:[${fields[9]}]`);
}

/** In words of four bytes, each as this machine has numbers in its memory. */
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

const ALL = new Set(["0.0.0.0", "::"]);

/** All addresses of a machine hold each of them, and the other way round. */
function standsInTheWay(held: string, asked: string): boolean {
  return ALL.has(held) || ALL.has(plainAddress(asked)) || held === plainAddress(asked);
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
