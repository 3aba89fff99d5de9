/** The port of a service cannot be listened on: another process has it, or this user may not open it. */
export class PortUnavailable extends Error {
  /** The key of the service. */
  readonly service: string;
  readonly port: number;
  /** Of node:net. */
  declare readonly cause: NodeJS.ErrnoException;

  constructor(service: string, port: number, cause: unknown) {
    super(`port ${port} of ${service} cannot be listened on`, { cause });
    this.service = service;
    this.port = port;
  }

  /** In the form of a problem of the configuration. */
  get problem(): string {
    const { code } = this.cause;
    const reason = code === "EADDRINUSE" ? "is in use by another process" : `cannot be opened (${code})`;
    return `found ${this.port}, which ${reason}, allowed: a free port`;
  }
}
