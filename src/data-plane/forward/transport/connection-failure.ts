/** The failure of a connection, where neither node:net nor the parser has an error for it. */
/** Error codes of a connection that the upstream ended: FIN, RST, and a write after either. */
const CLOSED_BY_UPSTREAM: ReadonlySet<unknown> = new Set(["UPSTREAM_CLOSED", "ECONNRESET", "EPIPE"]);

export class ConnectionFailure extends Error {
  override readonly name = "ConnectionFailure";
  readonly code: "UPSTREAM_CLOSED" | "CONNECTION_DESTROYED";

  constructor(code: ConnectionFailure["code"], problem: string) {
    super(problem);
    this.code = code;
  }
}

/** The upstream ended the connection. */
export function closedByUpstream(): ConnectionFailure {
  return new ConnectionFailure("UPSTREAM_CLOSED", "the upstream closed the connection");
}

/** The gateway ended the connection: the service was removed or the gateway is ending. */
export function destroyedByGateway(): ConnectionFailure {
  return new ConnectionFailure("CONNECTION_DESTROYED", "the gateway closed the connection");
}

/** @param error of a connection, raised by any layer. */
export function isClosedByUpstream(error: NodeJS.ErrnoException): boolean {
  return CLOSED_BY_UPSTREAM.has(error.code);
}
