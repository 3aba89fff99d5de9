/**
 * Whose a request is, told from its target alone, and with it whether an `Upgrade` in it counts.
 * Invariant: nothing but a WebSocket handshake for the proxy plane is ever taken for an upgrade.
 */
import { IncomingMessage } from "node:http";
import { isWebSocketUpgrade } from "./framing.ts";

/** Under /proxy/, but the control plane's. */
const CONTROL_PATH = /^\/proxy\/(?:services|auth-test)(?:[/?]|$)/;

/** The data plane's. */
export function isProxied(url: string): boolean {
  return url.startsWith("/proxy/") && !CONTROL_PATH.test(url);
}

/**
 * node:http asks the request itself whether it is an upgrade, once its headers are there, and takes every `Upgrade` for one
 * otherwise (Java's client offers h2c with each request).
 */
export class ClientRequest extends IncomingMessage {
  /** What the parser makes of it. */
  declare private parsedUpgrade: boolean | null;

  get upgrade(): boolean | null {
    if (this.parsedUpgrade !== true || this.method === "CONNECT") return this.parsedUpgrade;
    return isProxied(this.url as string) && isWebSocketUpgrade(this);
  }

  set upgrade(value: boolean | null) {
    this.parsedUpgrade = value;
  }
}
