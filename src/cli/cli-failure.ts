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
  /** The body of the gateway's response; undefined when there was none. */
  readonly responseBody: unknown;

  constructor(exitCode: FailedExitCode, lines: readonly string[], responseBody?: unknown) {
    super(lines.join("\n"));
    this.exitCode = exitCode;
    this.lines = lines;
    this.responseBody = responseBody;
  }

  /** Printed with `--json`: the gateway's response, or an object of the same form. */
  get body(): unknown {
    if (this.responseBody !== undefined) return this.responseBody;
    const [message, ...more] = this.lines;
    const { error, code } = GENERAL[this.exitCode];
    return { error, message, code, ...(more.length === 0 ? {} : { details: { problems: this.lines } }) };
  }
}

const GENERAL = {
  1: { error: "The command failed", code: "COMMAND_FAILED" },
  2: { error: "Not valid", code: "NOT_VALID" },
} as const;

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
  const next = nextStep(code, hint);
  return new CliFailure(1, [typeof next === "string" ? `${message} ${next}` : message], responseBody);
}

/** The hints of responses are for clients, and some point to members that only `--json` prints. */
export const nextStep = (code: string, hint: unknown) => NEXT_COMMANDS[code] ?? hint;

const NEXT_COMMANDS: Readonly<Record<string, string>> = {
  SERVICE_NOT_CONFIGURED: "byteproxy services list shows all services.",
  DUPLICATE_ENTRY:
    "Change it with byteproxy services update <key> --config '<members to change>', or choose another key.",
  PRECONDITION_FAILED: "It was changed at the same time: run the command again.",
};

function detailLines(details: unknown): string[] {
  return Object.entries(details ?? {}).flatMap(([field, texts]) =>
    (Array.isArray(texts) ? texts : [texts]).map((text) => `  ${withoutMember(field)}: ${text}`),
  );
}

/** The request body has the service in `config`, which the user did not type: `config.baseUrl` becomes `baseUrl`. */
const withoutMember = (text: string) => text.replace(/\bconfig\.(?=[\w[])/g, "");
