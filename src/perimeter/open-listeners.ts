/**
 * Opens a listener on every address of a HOST: `localhost` is 127.0.0.1 and, where IPv6 exists, ::1.
 * Invariant: it opens all of them or none. If another process holds one of the two, a client of `localhost` could reach that process.
 */
import type { AddressInfo, Server } from "node:net";
import { listenAddresses } from "../config/hosts.ts";

export interface OpenListener {
  readonly server: Server;
  /** As configured: an address or a name. */
  readonly host: string;
  readonly address: string;
  readonly port: number;
}

/** With port 0 the system chooses a port that is free on the first address only. */
const CHOICES_LIMIT = 20;

/** This machine has no such address, or no IPv6 at all. */
const ABSENT: ReadonlySet<string | undefined> = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"]);

/** @param servers as many as `host` has addresses, or more. @throws node:net's error. */
export async function openListeners(
  servers: readonly Server[],
  port: number,
  host: string,
): Promise<readonly OpenListener[]> {
  for (let choice = 1; ; choice++) {
    try {
      return await openAll(servers, port, listenAddresses(host));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (port !== 0 || code !== "EADDRINUSE" || choice === CHOICES_LIMIT) throw error;
    }
  }
}

async function openAll(
  servers: readonly Server[],
  port: number,
  hosts: readonly string[],
): Promise<readonly OpenListener[]> {
  const opened: OpenListener[] = [];
  let absent: unknown;
  try {
    for (const host of hosts) {
      const server = servers[opened.length] as Server;
      const chosen = opened[0]?.port ?? port;
      try {
        opened.push({ server, host, ...(await open(server, chosen, host)) });
      } catch (error) {
        if (!ABSENT.has((error as NodeJS.ErrnoException).code)) throw error;
        absent = error;
      }
    }
    if (opened.length === 0) throw absent;
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ server }) => new Promise((resolve) => server.close(resolve))));
    throw error;
  }
}

function open(server: Server, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host }, () => {
      server.off("error", reject);
      resolve(server.address() as AddressInfo);
    });
  });
}
