/** The environment variables that the files in deploy/ may set: the gateway's own, their `…_FILE` forms, and upstreams' secrets. */
import { PRESETS } from "../../src/config/presets.ts";
import { SETTINGS_WITH_FILE, settingsSchema } from "../../src/config/settings.ts";

/** Of the gateway. */
export const KNOWN_VARIABLES: ReadonlySet<string> = new Set([
  ...Object.keys(settingsSchema.shape),
  ...SETTINGS_WITH_FILE.map((name) => `${name}_FILE`),
]);

/** Of upstreams, as the presets name them. */
export const PRESET_SECRETS: ReadonlySet<string> = new Set(
  Object.values(PRESETS).flatMap(({ auth }) => (auth?.tokenEnvVar === undefined ? [] : [auth.tokenEnvVar])),
);
