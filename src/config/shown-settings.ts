/**
 * The settings that count, by name, each with where it came from.
 * Invariant: nothing that is a secret, or may hold one, is shown: of a URL no more than its origin.
 */
import type { VariableOrigin } from "./env.ts";
import type { Config } from "./load-config.ts";
import { isSecretSetting } from "./read-settings.ts";
import { SETTING_ALIASES, SETTINGS_WITH_FILE, type SettingName } from "./settings.ts";

export interface ShownSetting {
  readonly name: string;
  readonly origin: VariableOrigin | "default";
  /** Null where it is not set, or not to be shown. */
  readonly value: string | number | boolean | readonly string[] | null;
}

export function showSettings({ settings, variables }: Pick<Config, "settings" | "variables">): ShownSetting[] {
  const origins = new Map(variables.known.map(({ name, origin }) => [name, origin]));
  return (Object.keys(settings) as SettingName[]).sort().map((name) => {
    const origin = namesOf(name).flatMap((each) => origins.get(each) ?? [])[0];
    return { name, origin: origin ?? "default", value: isSecretSetting(name) ? null : shown(settings[name]) };
  });
}

/** The names that it may have been set by. */
function namesOf(name: SettingName): string[] {
  const aliases = SETTING_ALIASES.filter(([, main]) => main === name).map(([alias]) => alias);
  const files = SETTINGS_WITH_FILE.filter((each) => each === name).map((each) => `${each}_FILE`);
  return [name, ...aliases, ...files];
}

function shown(value: unknown): ShownSetting["value"] {
  if (typeof value === "string") return shownText(value);
  if (typeof value === "number" || typeof value === "boolean") return value;
  return Array.isArray(value) ? value.map((each) => shownText(String(each))) : null;
}

/** What stands behind the host of a URL is what webhooks and feeds keep their tokens in. */
function shownText(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || !URL.canParse(text)) return text;
  const { origin, pathname, search, hash } = new URL(text);
  if (origin === "null") return text.includes("?") ? "***" : text;
  return pathname.length <= 1 && search === "" && hash === "" ? text : `${origin}/***`;
}
