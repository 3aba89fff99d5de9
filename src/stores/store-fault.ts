/**
 * Why the shared store cannot be used.
 * Invariant: no text of the server or of its client is shown: an error of Redis may repeat the arguments of a command, the password included.
 */

export type StoreFault =
  | "connecting"
  | "unreachable"
  | "refused"
  | "unresponsive"
  | "slow"
  | "full"
  | "read-only"
  | "loading"
  | "error";

export const FAULTS: Readonly<Record<StoreFault, string>> = {
  connecting: "it is not connected yet",
  unreachable: "it cannot be reached",
  refused: "it refuses the user or the password, or the user may not run a command",
  unresponsive: "it does not respond",
  slow: "it takes over 50 ms for a command",
  full: "its memory is full (maxmemory)",
  "read-only": "it is a replica that accepts no writes",
  loading: "it is loading its data",
  error: "it responds with an error",
};

/** A call that has no reply. */
export class StoreUnavailable extends Error {
  readonly fault: StoreFault;
  /** A code such as ECONNREFUSED or WRONGPASS. */
  readonly code: string | undefined;

  constructor(fault: StoreFault, code?: string) {
    super(`The shared store is not available: ${FAULTS[fault]}.`);
    this.fault = fault;
    this.code = code;
  }
}

const BY_CODE: Readonly<Record<string, StoreFault>> = {
  WRONGPASS: "refused",
  NOAUTH: "refused",
  NOPERM: "refused",
  OOM: "full",
  READONLY: "read-only",
  MASTERDOWN: "read-only",
  LOADING: "loading",
  BUSY: "unresponsive",
};

/** In a script, Redis 7 reports NOPERM in words only. */
const REFUSED_IN_SCRIPT = /^-?ERR The user executing the script can't /;

/** Of an error of the client: a reply that begins with its code, or a failed connection. */
export function storeFaultOf(error: unknown): StoreUnavailable {
  if (error instanceof StoreUnavailable) return error;
  if (!(error instanceof Error)) return new StoreUnavailable("error");
  const reply = codeOfReply(error);
  if (reply === "ERR" && REFUSED_IN_SCRIPT.test(error.message)) return new StoreUnavailable("refused", "NOPERM");
  if (reply !== undefined) return new StoreUnavailable(BY_CODE[reply] ?? "error", reply);
  const { code } = error as NodeJS.ErrnoException;
  return new StoreUnavailable("unreachable", /^[A-Z][A-Z0-9_]{1,40}$/.test(code ?? "") ? code : undefined);
}

/** The first word of an error reply, such as `NOSCRIPT`; undefined for other errors. */
export function codeOfReply({ message }: Error): string | undefined {
  return /^(?:-?)([A-Z]{2,20}) /.exec(message)?.[1];
}
