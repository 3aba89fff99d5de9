/** What every server process of the bench does last: listen, print its port, and go when the bench goes. */
import type { Server } from "node:http";

/** Listens on a free loopback port and prints it as the only line on stdout, which `startServer` waits for. */
export function announce(server: Server): void {
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("not listening on a port");
    process.stdout.write(`${address.port}\n`);
  });
  exitWithParent();
}

/** Our stdin is a pipe from the bench: it closes even when the bench is killed, so that no process is left behind. */
export function exitWithParent(): void {
  process.stdin.on("close", () => process.exit(0));
  process.stdin.resume();
}

/** The origin that a contestant relays to, its only argument. */
export function originUrl(): string {
  const url = process.argv[2];
  if (url === undefined) throw new Error("usage: <contestant> <origin URL>");
  return url;
}
