/** The variables as they count now: a service that was added at run time may name one that nothing else does. */
import type { DiagnosticsContext } from "./check.ts";

export function variablesOf({ config, services }: Pick<DiagnosticsContext, "config" | "services">) {
  const named = new Set(services().flatMap(({ service }) => service.auth?.tokenEnvVar ?? []));
  const { known, misspelt } = config.variables;
  const taken = misspelt.filter(({ name }) => named.has(name));
  return {
    known: [...known, ...taken.map(({ name, origin }) => ({ name, origin }))],
    misspelt: misspelt.filter(({ name }) => !named.has(name)),
  };
}
