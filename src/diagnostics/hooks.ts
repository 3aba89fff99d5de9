/** Checks the user hooks: whether their module can be loaded again, and whether they fail or are slow. */
import { findObstacle } from "../hooks/hook-loader.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  unusable: {
    status: "fail",
    symptom: "The gateway does not start, or a reload is refused: the module of MIDDLEWARE_PATH cannot be used",
    fix: "Correct MIDDLEWARE_PATH or the file that it names, or unset it. The message has the reason.",
  },
  failing: {
    status: "warn",
    symptom: "500 INTERNAL_ERROR because a user hook failed",
    fix: "Search the log for the hook's name: each failure is logged with its cause and the request id.",
  },
  slow: {
    status: "warn",
    symptom: "Requests are slow because a user hook takes over 50 ms",
    fix: "The log has the hook's name and time. Synchronous work holds up all requests: make it shorter, or asynchronous.",
  },
} as const;

/** Older failures are probably fixed. */
const RECENT_MS = 3_600_000;

export const hooks: Check = {
  id: "hooks",
  inspects: "the module of `MIDDLEWARE_PATH`, and the hooks that failed or were slow in the last hour",
  findings: FINDINGS,
  run({ config, hooks: loaded }) {
    const { MIDDLEWARE_PATH: path } = config.settings;
    if (path === undefined) return conclude([], "no user hooks are configured", { path: null, hooks: [] });
    const obstacle = findObstacle(path);
    const counts = loaded?.counts ?? [];
    const isRecent = (at: number) => at > Date.now() - RECENT_MS;
    const problems: Problem[] = [
      ...(obstacle === undefined ? [] : [{ finding: FINDINGS.unusable, message: obstacle.replace(/\.$/, "") }]),
      ...counts
        .filter(({ lastFailureAt }) => isRecent(lastFailureAt))
        .map(({ name, failures }) => ({
          finding: FINDINGS.failing,
          message: `the hook ${name} failed ${plural(failures, "time")}`,
        })),
      ...counts
        .filter(({ lastSlowAt }) => isRecent(lastSlowAt))
        .map(({ name, slow }) => ({
          finding: FINDINGS.slow,
          message: `the hook ${name} took over 50 ms ${plural(slow, "time")}`,
        })),
    ];
    const names = counts.map(({ name }) => name);
    const summary = names.length === 0 ? "the module of the user hooks can be read" : `hooks: ${names.join(", ")}`;
    return conclude(problems, summary, { path, hooks: counts });
  },
};
