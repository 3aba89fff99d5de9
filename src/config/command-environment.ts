/**
 * The environment of the commands that print secrets: that of the gateway, with the variables of its env files.
 * Invariant: it holds no key of the gateway, under any name. Secrets of services are inherited: a command may need one to log in.
 */
import type { Variable } from "./env.ts";
import { isSecretSetting } from "./read-settings.ts";
import type { Secret } from "./secret.ts";
import { NOT_YET, OWN_SECRETS, type SettingName, settingsSchema } from "./settings.ts";

/** Those of a later version may hold secrets, too; an older gateway may run in their environment. */
const WITHHELD: ReadonlySet<string> = new Set([
  ...OWN_SECRETS,
  ...[
    ...(Object.keys(settingsSchema.shape) as SettingName[]).filter(isSecretSetting),
    ...Object.keys(NOT_YET),
    "STORE_SECRET",
  ].flatMap((name) => [name, `${name}_FILE`]),
]);

/** @param ownKeys of the gateway, also those that were read from files. */
export function commandEnvironment(
  variables: ReadonlyMap<string, Variable>,
  ownKeys: readonly Secret[],
): Readonly<Record<string, string>> {
  const environment: Record<string, string> = {};
  for (const [name, { value }] of variables) {
    // Another variable, such as one for curl, may repeat a key.
    if (!WITHHELD.has(name) && !ownKeys.some((key) => value.includes(key.reveal()))) environment[name] = value;
  }
  return environment;
}
