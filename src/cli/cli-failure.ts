/**
 * What ends a command early, as its user reads it.
 * Invariant: it holds nothing but what may be printed; whatever is no CliFailure is a mistake of ours and keeps its stack trace.
 */
import { plain } from "./output.ts";

/** 1: it was refused, or could not be done; 2: it was asked for wrongly, or is configured wrongly. */
export type FailedExitCode = 1 | 2;

export type ExitCode = 0 | FailedExitCode;

export class CliFailure extends Error {
  readonly exitCode: FailedExitCode;
  /** Each on a line of its own, on stderr. */
  readonly lines: readonly string[];
  /** What a gateway answered, for `--json`; undefined where none did. */
  readonly answer: unknown;

  constructor(exitCode: FailedExitCode, lines: readonly string[], answer?: unknown) {
    super(lines.join("\n"));
    this.exitCode = exitCode;
    this.lines = lines;
    this.answer = answer;
  }
}

/** The members of a refusal of the gateway's that a person is told of. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint?: unknown;
  /** By field, of a VALIDATION_ERROR. */
  readonly details?: unknown;
}

/** The refusal in words: one line, or one for each field that is not valid. @param answer the whole of it, for `--json`. */
export function refused({ code, message, hint, details }: Refusal, answer: unknown): CliFailure {
  if (code === "VALIDATION_ERROR") {
    return new CliFailure(2, [plain(withoutMember(message)), ...detailLines(details)], answer);
  }
  return new CliFailure(1, [plain(typeof hint === "string" ? `${message} ${hint}` : message)], answer);
}

function detailLines(details: unknown): string[] {
  return Object.entries(details ?? {}).flatMap(([field, texts]) =>
    (Array.isArray(texts) ? texts : [texts]).map((text) => plain(`  ${withoutMember(field)}: ${text}`)),
  );
}

/** The member of the body that holds the service is none that was typed: `config.baseUrl` is `baseUrl` here. */
const withoutMember = (text: string) => text.replace(/\bconfig\.(?=[\w[])/g, "");
