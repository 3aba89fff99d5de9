/**
 * The listeners of services with a `port` of their own. They follow the served services: opened before a change applies, so that a port
 * in use refuses the change, and closed after it, when their requests have ended.
 * Invariant: a port has at most one listener, and it serves the service that has the port now and nothing else.
 */
import type { Socket } from "node:net";
import { type Addressed, portAddress, type ServiceAddress } from "../config/service-addresses.ts";
import type { Listener } from "../control-plane/parts.ts";
import type { GatewayServer } from "../server.ts";
import { PortUnavailable } from "../services/port-unavailable.ts";
import type { Logger } from "../telemetry/logger.ts";

/** Clients that cannot change more than a base URL run on this machine. `localhost` is both loopback addresses. */
const HOST = "localhost";

export interface OpenListener {
  readonly name: Listener["name"];
  readonly server: GatewayServer;
  /** The key of the only service that it serves now. */
  readonly service?: string | undefined;
}

export interface ServicePorts {
  /** Opens the ports that are not open. @throws PortUnavailable, and then none of them was opened. */
  open(services: Iterable<Addressed>): Promise<void>;
  /** Serves these services and no others: closes the other ports, and opens missing ones in the background. */
  follow(services: Iterable<Addressed>): void;
}

export interface ServicePortsParts {
  /** @param address called for each request. */
  readonly createServer: (address: () => ServiceAddress) => GatewayServer;
  /** All listeners of the gateway; those of services are added here, and removed once their last connection has ended. */
  readonly listeners: OpenListener[];
  /** How long the requests of a closed port have to end, ms. */
  readonly drainMs: () => number;
  /** Closes the WebSockets on these sockets. */
  readonly closeTunnels: (isOnPort: (socket: Socket) => boolean) => void;
  readonly logger: Pick<Logger, "error">;
}

class OpenPort implements OpenListener {
  readonly name = "service";
  readonly server: GatewayServer;
  /** Never none: a listener without one would serve the whole gateway. */
  #address: ServiceAddress;

  constructor(key: string, parts: ServicePortsParts) {
    this.#address = portAddress(key);
    this.server = parts.createServer(() => this.#address);
  }

  get service(): string {
    return this.#address.key;
  }

  serve(key: string): void {
    if (key !== this.service) this.#address = portAddress(key);
  }
}

export function createServicePorts(parts: ServicePortsParts): ServicePorts {
  const { listeners } = parts;
  const open = new Map<number, OpenPort>();
  /** Ports that are no longer wanted, until they do not listen any more. */
  const stopping = new Map<number, Promise<void>>();

  async function openPort(key: string, port: number): Promise<void> {
    await stopping.get(port);
    if (open.has(port)) return;
    const opened = new OpenPort(key, parts);
    open.set(port, opened);
    try {
      await opened.server.listen(port, HOST);
    } catch (error) {
      if (open.get(port) === opened) open.delete(port);
      throw new PortUnavailable(key, port, error);
    }
    listeners.push(opened);
    // Another change did not want it any more.
    if (open.get(port) !== opened) await close(opened);
  }

  async function closePort(port: number, opened: OpenPort): Promise<void> {
    open.delete(port);
    const { server } = opened;
    const stopped = server.stopListening();
    stopping.set(port, stopped);
    await stopped;
    stopping.delete(port);
    if (listeners.includes(opened)) await close(opened);
  }

  async function close(opened: OpenPort): Promise<void> {
    const { server } = opened;
    parts.closeTunnels(server.connections.has);
    await server.close(parts.drainMs());
    const at = listeners.indexOf(opened);
    if (at !== -1) listeners.splice(at, 1);
  }

  return {
    async open(services) {
      const before = new Set(open.keys());
      try {
        for (const { key, port } of services) if (port !== undefined) await openPort(key, port);
      } catch (error) {
        for (const [port, opened] of open) if (!before.has(port)) void closePort(port, opened);
        throw error;
      }
    },
    follow(services) {
      const wanted = new Map<number, string>();
      for (const { key, port } of services) if (port !== undefined) wanted.set(port, key);
      for (const [port, opened] of open) if (!wanted.has(port)) void closePort(port, opened);
      for (const [port, key] of wanted) {
        const opened = open.get(port);
        if (opened !== undefined) opened.serve(key);
        else {
          openPort(key, port).catch((error: unknown) => {
            parts.logger.error({ err: error, service: key }, "the port of a service is not open");
          });
        }
      }
    },
  };
}
