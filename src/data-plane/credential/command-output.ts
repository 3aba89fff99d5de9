/**
 * What a run of a command gave: one usable secret, or the reason why there is none.
 * Invariant: a reason contains nothing that the command printed.
 */

export type CommandOutcome =
  | { readonly kind: "printed"; readonly text: string }
  /** `reason` completes "the command …". */
  | { readonly kind: "failed"; readonly reason: string };

export const failed = (reason: string): CommandOutcome => ({ kind: "failed", reason });

/** The text without the white space around it, if a request can carry it. @param output all of standard output. */
export function readOutput(output: Buffer): CommandOutcome {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(output).trim();
  } catch {
    return failed("printed something other than UTF-8 text");
  }
  if (text === "") return failed("printed nothing");
  if (/[\r\n]/.test(text)) return failed("printed several lines; it must print only the secret");
  if (/[\x00-\x1f\x7f]/.test(text)) return failed("printed control characters");
  if (/[^\x00-\xff]/.test(text)) return failed("printed characters that a header cannot carry (not Latin-1)");
  return { kind: "printed", text };
}
