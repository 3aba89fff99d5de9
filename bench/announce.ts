/** Shared by the server processes of the benchmark: each listens, prints its port, and ends with the benchmark. */
import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { Server as NetServer } from "node:net";
import { parseArgs } from "node:util";

/** Listens on a free loopback port and prints it as the only line on stdout, which `startServer` waits for. */
export function announce(server: NetServer): void {
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

/** The origin that a contestant relays to. */
export function originUrl(): string {
  const url = readArguments().origin;
  if (url === undefined) throw new Error("usage: <contestant> --origin <URL> [--ca <file with the origin's CA>]");
  return url;
}

/** The authority of an origin with https. */
export function originCa(): Buffer | undefined {
  const { ca } = readArguments();
  return ca === undefined ? undefined : readFileSync(ca);
}

/** A server of node:http, or of node:https if the process got the files of a certificate and its key. */
export function createHttpServer(onRequest: RequestListener): Server {
  const { cert, key } = readArguments();
  if (cert === undefined || key === undefined) return createServer(onRequest);
  return createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) }, onRequest);
}

/** What `startServer` passes. */
function readArguments() {
  const file = { type: "string" } as const;
  return parseArgs({ options: { origin: { type: "string" }, ca: file, cert: file, key: file } }).values;
}
