/**
 * An error that ends a command, as its user reads it.
 * Invariant: it contains only what may be printed. Any other error is a bug of ours and keeps its stack trace.
 */

/** 1: refused, or could not be done. 2: wrong use, or a wrong configuration. */
export type FailedExitCode = 1 | 2;

export type ExitCode = 0 | FailedExitCode;

export class CliFailure extends Error {
  readonly exitCode: FailedExitCode;
  /** Each is printed on a line of its own, on stderr. */
  readonly lines: readonly string[];
  /** The body of the gateway's response, for `--json`; undefined when there was none. */
  readonly responseBody: unknown;

  constructor(exitCode: FailedExitCode, lines: readonly string[], responseBody?: unknown) {
    super(lines.join("\n"));
    this.exitCode = exitCode;
    this.lines = lines;
    this.responseBody = responseBody;
  }
}

/** The printed members of an error response of the gateway. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint?: unknown;
  /** The problems of each field, with VALIDATION_ERROR. */
  readonly details?: unknown;
}

/** One line, or one line for each field that is not valid. @param responseBody the whole body, for `--json`. */
export function createRefusal({ code, message, hint, details }: Refusal, responseBody: unknown): CliFailure {
  if (code === "VALIDATION_ERROR") {
    return new CliFailure(2, [withoutMember(message), ...detailLines(details)], responseBody);
  }
  // The hint of the response points to its list of services, which only `--json` prints.
  const next = code === "SERVICE_NOT_CONFIGURED" ? "byteproxy services list shows all services." : hint;
  return new CliFailure(1, [typeof next === "string" ? `${message} ${next}` : message], responseBody);
}

function detailLines(details: unknown): string[] {
  return Object.entries(details ?? {}).flatMap(([field, texts]) =>
    (Array.isArray(texts) ? texts : [texts]).map((text) => `  ${withoutMember(field)}: ${text}`),
  );
}

/** The request body has the service in `config`, which the user did not type: `config.baseUrl` becomes `baseUrl`. */
const withoutMember = (text: string) => text.replace(/\bconfig\.(?=[\w[])/g, "");
