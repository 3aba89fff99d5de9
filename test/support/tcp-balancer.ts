/**
 * A TCP load balancer for tests: new connections go round robin to the instances that report that they are ready; open ones stay.
 * Like most load balancers of this kind it speaks HTTP only for its health checks.
 */
import { once } from "node:events";
import { get } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface TcpBalancer {
  readonly port: number;
  /** Whether the last check found this instance ready. */
  isReady(port: number): boolean;
}

/** How long an instance may take to report that it is ready, ms: a busy instance is not a dead one. */
const PATIENCE_MS = 1_000;

/** @param intervalMs between two checks of each instance's /health/ready. */
export async function startTcpBalancer(instances: readonly number[], intervalMs: number): Promise<TcpBalancer> {
  const ready = new Set<number>();
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer((client) => {
    const candidates = instances.filter((port) => ready.has(port));
    const port = candidates[turn++ % candidates.length];
    if (port === undefined) return client.destroy();
    const instance = connect({ port, host: "127.0.0.1", noDelay: true });
    for (const [socket, other] of [
      [client, instance],
      [instance, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => sockets.delete(socket));
      socket.pipe(other);
    }
    return undefined;
  });
  const check = (port: number) =>
    isReady(port).then((response) => {
      if (response) ready.add(port);
      else ready.delete(port);
    });
  const timer = setInterval(() => instances.forEach(check), intervalMs);
  server.listen(0, "127.0.0.1");
  await Promise.all([once(server, "listening"), ...instances.map(check)]);
  onTestFinished(() => {
    clearInterval(timer);
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, isReady: (port) => ready.has(port) };
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const req = get({ host: "127.0.0.1", port, path: "/health/ready", agent: false, timeout: PATIENCE_MS }, (res) => {
      res.resume();
      resolve(res.statusCode === 200);
    });
    req.on("timeout", () => req.destroy());
    req.on("error", () => resolve(false));
  });
}
