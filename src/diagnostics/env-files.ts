/** Which env files were read, from where, and where each variable comes from. */
import { dirname } from "node:path";
import { plural } from "../plural.ts";
import { type Check, conclude } from "./check.ts";
import { variablesOf } from "./variables.ts";

const FINDS = {
  misspelt: {
    status: "warn",
    symptom: "a variable in an env file has no effect",
    fix: "Give it the name that evidence.misspelt says it nearly has.",
  },
} as const;

export const envFiles: Check = {
  id: "env-files",
  looksAt: "the env files, the folder that they were looked for in, and the origin of each variable",
  finds: FINDS,
  run(context) {
    const { config } = context;
    const { known, misspelt } = variablesOf(context);
    const read = config.envFiles.filter(({ state }) => state === "read");
    return conclude(
      misspelt.map(({ name, origin, meant }) => ({
        find: FINDS.misspelt,
        words: `${name} (${origin}) has no effect; did you mean ${meant}?`,
      })),
      `${read.length} of ${config.envFiles.length} env files read, ${plural(known.length, "variable")} set`,
      {
        directory: dirname(config.envFiles[0]?.path ?? "."),
        files: config.envFiles,
        variables: known,
        misspelt,
      },
    );
  },
};
