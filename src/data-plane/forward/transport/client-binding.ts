/**
 * Ties a connection to the one client connection that authenticated it: NTLM and Negotiate authenticate connections, not requests
 * (RFC 4559 section 6), so the sender of the next request on it would be served as that client.
 * Invariant: a bound connection never becomes free for another client, and ends with its client.
 */
import type { Socket } from "node:net";
import type { ResponseHeaders } from "./response-fields.ts";

/** At the start of credentials or of a challenge, of which one header may hold several. */
const CREDENTIALS = /^[ \t]*(?:ntlm|negotiate|kerberos)(?:[ \t,]|$)/i;
const CHALLENGE = /(?:^|[,\s])(?:ntlm|negotiate|kerberos)(?:[\s,]|$)/i;

/** @param headers flat list. */
export function hasConnectionCredentials(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    // The length is compared first, because this runs for every header of many requests.
    const mayMatch = name.length === 13 && CREDENTIALS.test(headers[i + 1] as string);
    if (mayMatch && name.toLowerCase() === "authorization") return true;
  }
  return false;
}

/** Whether a 401 or 407 asks for such credentials. */
export function asksForConnectionCredentials(headers: ResponseHeaders): boolean {
  return [headers["www-authenticate"], headers["proxy-authenticate"]].some(
    (value) => value !== undefined && CHALLENGE.test(String(value)),
  );
}

export class ClientBinding {
  readonly #client: Socket | undefined;
  readonly #onEnd: () => void;

  /** @param onEnd called when the client's connection has ended. */
  constructor(client: Socket | undefined, onEnd: () => void) {
    this.#client = client;
    this.#onEnd = onEnd;
    client?.once("close", onEnd);
  }

  /** No further request may come. */
  get isOver(): boolean {
    return this.#client?.destroyed ?? true;
  }

  isFor(client: Socket | undefined): boolean {
    return this.#client !== undefined && this.#client === client;
  }

  release(): void {
    this.#client?.off("close", this.#onEnd);
  }
}
