/**
 * The only error that may reach a client.
 * Invariant: its public message never contains a secret or a cause; the cause goes to the log only.
 */
import { CATALOG, type CatalogEntry, type ErrorCode } from "./error-catalog.ts";

export interface GatewayErrorOptions {
  /** Public sentence. Defaults to the title. */
  readonly message?: string;
  readonly hint?: string;
  /** Only for codes whose status is decided elsewhere. */
  readonly status?: number;
  /** Additional members of the JSON body: `availableServices`, `details`. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Additional response headers, as a flat list of names and values: `Allow`, `Retry-After`. */
  readonly headers?: readonly string[];
  /** RFC 9209 error type, if it is more specific than that of the code. */
  readonly proxyStatus?: string;
  /** The underlying error, for the log only. */
  readonly cause?: unknown;
}

/** The only error that may reach a client. Any other thrown value becomes INTERNAL_ERROR. */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly title: string;
  readonly hint: string;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly headers: readonly string[];
  readonly proxyStatus: string | undefined;

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    const entry: CatalogEntry = CATALOG[code];
    super(options.message ?? `${entry.title}.`, { cause: options.cause });
    this.name = "GatewayError";
    this.code = code;
    this.status = options.status ?? entry.status;
    this.title = entry.title;
    this.hint = options.hint ?? entry.hint;
    this.extra = options.extra ?? {};
    this.headers = options.headers ?? [];
    this.proxyStatus = options.proxyStatus ?? entry.proxyStatus;
  }

  /** Converts any thrown value. A value that is not a GatewayError becomes INTERNAL_ERROR with that value as its cause. */
  static from(thrown: unknown): GatewayError {
    return thrown instanceof GatewayError ? thrown : new GatewayError("INTERNAL_ERROR", { cause: thrown });
  }
}
