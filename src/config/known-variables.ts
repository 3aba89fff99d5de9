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
  const meantBy = createGuess(names);
  const known: KnownVariable[] = [];
  const misspelt: MisspeltVariable[] = [];
  for (const [name, { origin }] of variables) {
    if (names.has(name)) known.push({ name, origin });
    // The process has many variables that are none of ours.
    else if (origin.startsWith(".env")) {
      const meant = meantBy(name);
      if (meant !== undefined) misspelt.push({ name, origin, meant });
    }
  }
  return { known, misspelt };
}

/** `PROXY_APIKEY`, `MANAGMENT_API_KEY`; but `GITLAB_TOKEN` is not `GITHUB_TOKEN`. Of thousands of names few are compared letter by letter. */
function createGuess(names: Iterable<string>): (name: string) => string | undefined {
  const byLetters = new Map<string, string>();
  const byLength = new Map<number, string[]>();
  for (const name of names) {
    const letters = lettersOf(name);
    if (!byLetters.has(letters)) byLetters.set(letters, name);
    const alike = byLength.get(name.length);
    if (alike === undefined) byLength.set(name.length, [name]);
    else alike.push(name);
  }
  return (name) => {
    const spelt = byLetters.get(lettersOf(name));
    if (spelt !== undefined || name.length <= 5) return spelt;
    const near = [-1, 0, 1].flatMap((more) => byLength.get(name.length + more) ?? []);
    return near.find((other) => distance(name, other) === 1);
  };
}

const lettersOf = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, "");
