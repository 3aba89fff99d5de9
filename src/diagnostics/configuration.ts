/** Whether what is on the disk is still what is served, and what was found in it. */
import { isDeepStrictEqual } from "node:util";
import { type Config, ConfigProblems } from "../config/load-config.ts";
import { Secret } from "../config/secret.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDS = {
  invalid: {
    status: "fail",
    symptom: "a reload is refused, and a restart would not start",
    fix: "Mend what evidence.problems names; the old configuration goes on serving meanwhile.",
  },
  broken: {
    status: "fail",
    symptom: "the gateway does not start: exit code 2",
    fix: "Mend what evidence.problems names; npx byteproxy check says whether that is all.",
  },
  changed: {
    status: "warn",
    symptom: "a change of the services file or of a variable has no effect",
    fix: "POST /manage/reload takes it up; what it names in needsRestart takes a restart.",
  },
  warned: {
    status: "warn",
    symptom: "the configuration serves, and does not mean what it seems to",
    fix: "Mend what evidence.warnings names, or leave it where it is meant.",
  },
} as const;

export const configuration: Check = {
  id: "config",
  looksAt: "the services file and the variables, read anew and compared with what is served",
  finds: FINDS,
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
        find: offline === undefined ? FINDS.invalid : FINDS.broken,
        words: `the configuration on the disk has ${plural(invalid.length, "problem")}`,
      });
    }
    if (changed.length > 0)
      problems.push({ find: FINDS.changed, words: `changed since it was read: ${changed.join(", ")}` });
    if (warnings.length > 0) problems.push({ find: FINDS.warned, words: plural(warnings.length, "warning") });
    const { path, state } = config.configFile;
    const fine = offline === undefined ? "nothing has changed since it was read" : "a gateway would start with it";
    return conclude(problems, `${state === "read" ? path : "no services file"}; ${fine}`, {
      ...{ file: path, state },
      ...{ problems: invalid, changed, warnings },
    });
  },
};

/** Names of variables, and `services.<key>`. Secrets have checks of their own. */
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

/** A secret compares by what it holds. */
function textOf({ settings }: Config, name: string): unknown {
  const value = (settings as Readonly<Record<string, unknown>>)[name];
  return value instanceof Secret ? value.reveal() : value;
}
