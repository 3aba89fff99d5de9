/**
 * Reads the settings from the variables. Each is checked separately, so that one bad value does not hide another.
 * Invariant: a refused value is replaced by its default for the checks that follow, and its name is in `refused`.
 */
import { resolve } from "node:path";
import { VARIABLE_ORIGINS, type Variable } from "./env.ts";
import { showText } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import {
  NOT_YET,
  SETTING_ALIASES,
  SETTINGS_WITH_FILE,
  type SettingName,
  type Settings,
  settingsSchema,
} from "./settings.ts";

type Variables = ReadonlyMap<string, Variable>;

export interface ReadSettings {
  readonly settings: Settings;
  /** Names of settings with a value that is not allowed: checks that depend on them report nothing. */
  readonly refused: ReadonlySet<string>;
}

export function readSettings(variables: Variables, directory: string, problems: string[]): ReadSettings {
  const refused = new Set<string>();
  const values: Partial<Record<SettingName, string>> = {};
  for (const name of settingNames()) {
    const found = settingText(name, variables, directory);
    if (found === undefined) continue;
    const problem = "problem" in found ? found.problem : problemWith(name, found.text);
    if (problem === undefined && "text" in found) values[name] = found.text;
    else {
      refused.add(name);
      problems.push(`${found.place}: ${problem}`);
    }
  }
  problems.push(...laterSettings(variables));
  const settings = settingsSchema.parse(values);
  settings.DATA_DIR = resolve(directory, settings.DATA_DIR);
  settings.CONFIG_FILE = resolve(directory, settings.CONFIG_FILE);
  for (const name of PATHS) {
    const path = settings[name];
    if (path !== undefined) settings[name] = resolve(directory, path);
  }
  return { settings, refused };
}

const PATHS = ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "MIDDLEWARE_PATH"] as const;

/** `PORT (.env.local)`: the beginning of a problem line. */
export const variablePlace = (name: string, variable: Variable) => `${name} (${variable.origin})`;

const settingNames = () => Object.keys(settingsSchema.shape) as SettingName[];

export const isSecretSetting = (name: SettingName) => settingsSchema.shape[name].meta()?.secret === true;

type FoundText = { readonly place: string } & ({ readonly text: string } | { readonly problem: string });

function settingText(name: SettingName, variables: Variables, directory: string): FoundText | undefined {
  const variable = withAlias(name, variables);
  const file = (SETTINGS_WITH_FILE as readonly string[]).includes(name) ? variables.get(`${name}_FILE`) : undefined;
  if (file === undefined) return variable && { place: variablePlace(variable.name, variable), text: variable.value };
  const place = variablePlace(`${name}_FILE`, file);
  if (variable !== undefined)
    return { place, problem: `found together with ${name} (${variable.origin}), allowed: only one of them` };
  const reading = readTextFile(resolve(directory, file.value));
  if (reading.state === "read") return { place, text: withoutTrailingNewlines(reading.text).trim() };
  const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
  return { place, problem: `cannot read ${showText(file.value)}: ${reason}, allowed: a file that holds the key` };
}

/** The variable by its name or its alias: the one with the later origin, otherwise the one by its name. */
function withAlias(name: SettingName, variables: Variables): (Variable & { name: string }) | undefined {
  const names: string[] = [name, ...SETTING_ALIASES.filter(([, main]) => main === name).map(([alias]) => alias)];
  const set = names.flatMap((each) => {
    const variable = variables.get(each);
    return variable === undefined ? [] : [{ ...variable, name: each }];
  });
  const rank = (variable: Variable) => VARIABLE_ORIGINS.indexOf(variable.origin);
  return set.sort((a, b) => rank(b) - rank(a))[0];
}

function problemWith(name: SettingName, text: string): string | undefined {
  const issue = settingsSchema.shape[name].safeParse(text).error?.issues[0];
  if (issue === undefined) return undefined;
  const found = isSecretSetting(name) ? `a string of ${text.length} characters` : showText(text);
  return `found ${found}, allowed: ${issue.message}`;
}

function laterSettings(variables: Variables): string[] {
  return Object.entries(NOT_YET).flatMap(([name, neutral]) => {
    const variable = variables.get(name);
    if (variable === undefined || neutral.includes(variable.value.toLowerCase())) return [];
    const or = neutral.length > 0 ? `, or set it to ${neutral.join(" or ")}` : "";
    return [`${variablePlace(name, variable)}: not yet supported by this version; remove it${or}`];
  });
}
