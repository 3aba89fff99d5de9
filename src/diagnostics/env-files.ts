/** Checks the env files for misspelled variables, and reports the origin of each variable. */
import { dirname } from "node:path";
import { variablesOfDefinition } from "../config/signing-secret.ts";
import { plural } from "../plural.ts";
import { type Check, conclude, type DiagnosticsContext } from "./check.ts";

const FINDINGS = {
  misspelled: {
    status: "warn",
    symptom: "a variable has no effect",
    fix: "Rename the variable to the name suggested in evidence.misspelt.",
  },
} as const;

export const envFiles: Check = {
  id: "env-files",
  inspects: "the env files, their directory, and the origin of each variable",
  findings: FINDINGS,
  run(context) {
    const { config } = context;
    const { known, misspelt } = variablesOf(context);
    const read = config.envFiles.filter(({ state }) => state === "read");
    return conclude(
      misspelt.map(({ name, origin, meant }) => ({
        finding: FINDINGS.misspelled,
        message: `${name} (${origin}) has no effect; did you mean ${meant}?`,
      })),
      `${read.length} of ${plural(config.envFiles.length, "env file")} read, ${plural(known.length, "variable")} set`,
      {
        directory: dirname(config.envFiles[0]?.path ?? "."),
        files: config.envFiles,
        variables: known,
        misspelt,
      },
    );
  },
};

/** The variables of the configuration. A variable that only a service added at run time uses is not misspelled. */
export function variablesOf({ config, services }: Pick<DiagnosticsContext, "config" | "services">) {
  const used = new Set(services().flatMap(({ service }) => variablesOfDefinition(service)));
  const { known, misspelt } = config.variables;
  const addedLater = misspelt.filter(({ name }) => used.has(name));
  return {
    known: [...known, ...addedLater.map(({ name, origin }) => ({ name, origin }))],
    misspelt: misspelt.filter(({ name }) => !used.has(name)),
  };
}
