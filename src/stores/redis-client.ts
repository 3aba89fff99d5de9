/**
 * One connection to Redis, by node-redis. Only this file imports it, and only when a connection is opened: a gateway without REDIS_URL
 * does not load it. Invariant: commands are never queued for a later connection.
 */
import { isIP } from "node:net";
import type { RedisServer } from "../config/redis-settings.ts";
import { StoreUnavailable } from "./store-fault.ts";

export interface RedisClient {
  /** @throws the error reply, or an error when the connection ends. */
  send(args: readonly string[]): Promise<unknown>;
  /** False once the connection has ended. */
  readonly isOpen: boolean;
  /** Ends the connection now. */
  destroy(): void;
}

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * @param onEnd called once, when an opened connection ends. @param signal ends the attempt.
 * @throws when the connection cannot be opened within 5 s.
 */
export async function connectRedis(server: RedisServer, onEnd: () => void, signal: AbortSignal): Promise<RedisClient> {
  const { createClient } = await import("redis");
  const { host, port, isTls, username, password, database } = server;
  const address = { host, port, connectTimeout: CONNECT_TIMEOUT_MS, reconnectStrategy: false } as const;
  const client = createClient({
    // A certificate for an address is found without SNI (RFC 6066 section 3).
    socket: isTls ? { ...address, tls: true, ...(isIP(host) === 0 ? { servername: host } : {}) } : address,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: password.reveal() }),
    database,
    // Every server and every proxy in front of one speaks RESP 2.
    RESP: 2,
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: "disabled",
  });
  let isEnded = false;
  let isOpened = false;
  const end = () => {
    if (isOpened && !isEnded) onEnd();
    isEnded = true;
  };
  const destroy = () => {
    if (client.isOpen) client.destroy();
  };
  // Without a listener, an error would end the process.
  client.on("error", end);
  client.on("end", end);
  try {
    await withinTime(client.connect(), signal);
  } catch (error) {
    destroy();
    throw error;
  }
  isOpened = true;
  return {
    send: (args) => client.sendCommand(args as string[]),
    get isOpen() {
      return client.isReady && !isEnded;
    },
    destroy,
  };
}

/** The client's own limit ends with the TCP connection: a frozen server would never respond to the first command. */
async function withinTime(connecting: Promise<unknown>, signal: AbortSignal): Promise<void> {
  let end = () => {};
  const ended = new Promise<never>((_, reject) => {
    end = () => reject(new StoreUnavailable("unresponsive"));
  });
  const timer = setTimeout(end, CONNECT_TIMEOUT_MS).unref();
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  try {
    await Promise.race([connecting, ended]);
  } catch (error) {
    connecting.catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
