/** Says why the system did not start a command. Callers read it, so it names neither the program nor its path. */

const REASONS: Readonly<Record<string, string>> = {
  // Also where the interpreter that a script names in its first line does not exist.
  ENOENT: "there is no such program",
  ENOTDIR: "there is no such program",
  EACCES: "the program is not executable, or the permissions do not allow it",
  EPERM: "the permissions do not allow it",
  ENOEXEC: "the file is not a program for this system",
  ELOOP: "the symbolic links of the program form a loop",
  E2BIG: "its arguments and its environment are too long",
  EAGAIN: "the system allows no more processes",
  EMFILE: "too many files are open",
  ENFILE: "too many files are open",
  ENOMEM: "the system has no memory for it",
};

/** Completes "the command …". */
export function describeStartFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? "unknown";
  return `could not be started: ${REASONS[code] ?? `the system error is ${code}`}`;
}
