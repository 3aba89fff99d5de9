/** Shared by the server processes of the benchmark: each listens, prints its port, and ends with the benchmark. */
import { readFileSync } from "node:fs";
import type { Server } from "node:net";

/** Listens on a free loopback port and prints it as the only line on stdout, which `startServer` waits for. */
export function announce(server: Server): void {
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("not listening on a port");
    process.stdout.write(`${address.port}\n`);
  });
  exitWithParent();
}

/** stdin is a pipe from the benchmark. It closes even when the benchmark is killed, so that no process remains. */
export function exitWithParent(): void {
  process.stdin.on("close", () => process.exit(0));
  process.stdin.resume();
}

/** The first argument of a contestant: the origin that it relays to. */
export function originUrl(): string {
  const url = process.argv[2];
  if (url === undefined) throw new Error("usage: <contestant> <origin URL> [<file with the origin's CA>]");
  return url;
}

/** The second argument of a contestant: the authority of an origin with https. */
export function originCa(): Buffer | undefined {
  const file = process.argv[3];
  return file === undefined ? undefined : readFileSync(file);
}
