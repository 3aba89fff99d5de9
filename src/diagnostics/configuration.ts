/** Checks that the configuration on disk is the one in use, and reports its problems and warnings. */
import { isDeepStrictEqual } from "node:util";
import { type Config, ConfigProblems } from "../config/load-config.ts";
import { Secret } from "../config/secret.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  invalid: {
    status: "fail",
    symptom: "a reload is refused, and the gateway would not start again",
    fix: "Fix the problems in evidence.problems. The gateway uses the old configuration meanwhile.",
  },
  broken: {
    status: "fail",
    symptom: "the gateway does not start: exit code 2",
    fix: "Fix the problems in evidence.problems, then run npx byteproxy check.",
  },
  changed: {
    status: "warn",
    symptom: "a change of the services file or of a variable has no effect",
    fix: "POST /manage/reload applies it. Restart the gateway for the variables that the response lists in needsRestart.",
  },
  warned: {
    status: "warn",
    symptom: "the configuration is valid, but part of it may not do what was intended",
    fix: "Fix the settings in evidence.warnings, or ignore the warnings if the settings are intended.",
  },
} as const;

export const configuration: Check = {
  id: "config",
  inspects: "the services file and the variables, read again and compared with the configuration in use",
  findings: FINDINGS,
  async run({ config, warnings, load, offline }) {
    const problems: Problem[] = [];
    let invalid: readonly string[] = [];
    let changed: readonly string[] = [];
    try {
      changed = differences(config, await load());
    } catch (error) {
      if (!(error instanceof ConfigProblems)) throw error;
      invalid = error.problems;
      problems.push({
        finding: offline === undefined ? FINDINGS.invalid : FINDINGS.broken,
        message: `the configuration on disk has ${plural(invalid.length, "problem")}`,
      });
    }
    if (changed.length > 0) {
      problems.push({ finding: FINDINGS.changed, message: `changed since the last load: ${changed.join(", ")}` });
    }
    if (warnings.length > 0) problems.push({ finding: FINDINGS.warned, message: plural(warnings.length, "warning") });
    const { path, state } = config.configFile;
    const outcome =
      offline === undefined
        ? "nothing has changed since the last load"
        : "the gateway can start with this configuration";
    return conclude(problems, `${state === "read" ? path : "no services file"}; ${outcome}`, {
      file: path,
      state,
      problems: invalid,
      changed,
      warnings,
    });
  },
};

/** Names of variables, and `services.<key>`. The check `credential` compares the services' secrets. */
function differences(before: Config, now: Config): string[] {
  const settings = Object.keys({ ...before.settings, ...now.settings }).filter(
    (name) => !isDeepStrictEqual(textOf(before, name), textOf(now, name)),
  );
  const keys = new Set([...before.definitions.keys(), ...now.definitions.keys()]);
  const services = [...keys].filter(
    (key) => !isDeepStrictEqual(before.definitions.get(key)?.input, now.definitions.get(key)?.input),
  );
  return [...settings, ...services.map((key) => `services.${key}`)];
}

/** Two Secret objects are compared by their texts. */
function textOf({ settings }: Config, name: string): unknown {
  const value = (settings as Readonly<Record<string, unknown>>)[name];
  return value instanceof Secret ? value.reveal() : value;
}
