/** Which variables count here and where each came from: for whoever wonders why one has no effect. Never a value. */
import { distance } from "fastest-levenshtein";
import type { Environment, VariableOrigin } from "./env.ts";
import type { Service } from "./schema.ts";
import { NOT_YET, SETTING_ALIASES, SETTINGS_WITH_FILE, type Settings, settingsSchema } from "./settings.ts";

export interface KnownVariable {
  readonly name: string;
  readonly origin: VariableOrigin;
}

/** In an env file, without effect, and nearly the name of one that counts. */
export interface MisspeltVariable extends KnownVariable {
  readonly meant: string;
}

const OWN_NAMES: ReadonlySet<string> = new Set([
  ...Object.keys(settingsSchema.shape),
  ...SETTINGS_WITH_FILE.map((name) => `${name}_FILE`),
  ...SETTING_ALIASES.map(([alias]) => alias),
  ...Object.keys(NOT_YET),
]);

export function reviewVariables(
  { variables }: Environment,
  { REST_SECRETS }: Pick<Settings, "REST_SECRETS">,
  services: Iterable<Service>,
) {
  const names = new Set(OWN_NAMES);
  for (const { secret } of REST_SECRETS) if (!secret.startsWith("file:")) names.add(secret);
  for (const { auth } of services) if (auth?.tokenEnvVar !== undefined) names.add(auth.tokenEnvVar);
  const known: KnownVariable[] = [];
  const misspelt: MisspeltVariable[] = [];
  for (const [name, { origin }] of variables) {
    if (names.has(name)) known.push({ name, origin });
    // The process has many variables that are none of ours.
    else if (origin.startsWith(".env")) {
      const meant = [...names].find((other) => isSlip(name, other));
      if (meant !== undefined) misspelt.push({ name, origin, meant });
    }
  }
  return { known, misspelt };
}

/** `PROXY_APIKEY`, `MANAGMENT_API_KEY`; but `GITLAB_TOKEN` is not `GITHUB_TOKEN`. */
function isSlip(name: string, meant: string): boolean {
  const letters = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, "");
  return letters(name) === letters(meant) || (name.length > 5 && distance(name, meant) === 1);
}
