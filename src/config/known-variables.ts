/**
 * Which variables the gateway uses, where each came from, and the values of those that cannot hold a secret: for an operator who
 * asks why a variable has no effect. Invariant: no secret is shown, and of a URL only its origin.
 */
import { distance } from "fastest-levenshtein";
import type { Environment, VariableOrigin } from "./env.ts";
import { isSecretSetting } from "./read-settings.ts";
import type { Service } from "./schema.ts";
import {
  NOT_YET,
  SETTING_ALIASES,
  SETTINGS_WITH_FILE,
  type SettingName,
  type Settings,
  settingsSchema,
} from "./settings.ts";
import { variablesOfDefinition } from "./signing-secret.ts";

export interface KnownVariable {
  readonly name: string;
  readonly origin: VariableOrigin;
}

/** A variable that has no effect, but whose name is close to one that the gateway uses. */
export interface MisspeltVariable extends KnownVariable {
  readonly meant: string;
  /** It is close to a variable of the gateway itself, not only to one that a service names. */
  readonly isOwn: boolean;
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
  for (const service of services) for (const name of variablesOfDefinition(service)) names.add(name);
  const meantBy = createGuess(names, { most: 1, mostInShort: 1 });
  const ownMeantBy = createGuess(OWN_NAMES, { most: 2, mostInShort: 1 });
  const known: KnownVariable[] = [];
  const misspelt: MisspeltVariable[] = [];
  for (const [name, { origin }] of variables) {
    if (names.has(name)) {
      known.push({ name, origin });
      continue;
    }
    const own = ownMeantBy(name);
    // The process environment has many variables that do not concern the gateway, and some are close to those of services.
    const meant = own ?? (origin.startsWith(".env") ? meantBy(name) : undefined);
    if (meant !== undefined) misspelt.push({ name, origin, meant, isOwn: own !== undefined });
  }
  return { known, misspelt };
}

/** Changes of a character by which a name may differ from the intended one. */
interface Distances {
  readonly most: number;
  readonly mostInShort: number;
}

/** Characters. In such a name, two changes make another word: `HOME` is no misspelled `HOST`. */
const SHORT = 8;

/**
 * Finds the intended name for `PROXY_APIKEY` or `MANAGMENT_API_KEY`, but not `GITHUB_TOKEN` for `GITLAB_TOKEN`. Only names of
 * similar length are compared: there may be thousands.
 */
function createGuess(names: Iterable<string>, { most, mostInShort }: Distances): (name: string) => string | undefined {
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
    if (spelt !== undefined) return spelt;
    let nearest: { readonly other: string; readonly changes: number } | undefined;
    for (let length = name.length - most; length <= name.length + most; length++) {
      const allowed = length <= SHORT ? mostInShort : most;
      for (const other of byLength.get(length) ?? []) {
        const changes = distance(name, other);
        if (changes <= allowed && changes < (nearest?.changes ?? Number.POSITIVE_INFINITY))
          nearest = { other, changes };
      }
    }
    return nearest?.other;
  };
}

const lettersOf = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, "");

interface SettingSources {
  readonly settings: Readonly<Settings>;
  readonly variables: { readonly known: readonly KnownVariable[] };
}

export interface ShownSetting {
  readonly name: string;
  readonly origin: VariableOrigin | "default";
  /** Null for a setting that is not set, or that may hold a secret. */
  readonly value: string | number | boolean | readonly string[] | null;
}

export function showSettings({ settings, variables }: SettingSources): ShownSetting[] {
  const origins = new Map(variables.known.map(({ name, origin }) => [name, origin]));
  return (Object.keys(settings) as SettingName[]).sort().map((name) => {
    const origin = namesOf(name).flatMap((each) => origins.get(each) ?? [])[0];
    return { name, origin: origin ?? "default", value: isSecretSetting(name) ? null : shown(settings[name]) };
  });
}

/** The variables that can set it. */
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

/** Only the origin of a URL: the URLs of webhooks and feeds have tokens in their path. */
function shownText(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || !URL.canParse(text)) return text;
  const { origin, pathname, search, hash } = new URL(text);
  if (origin === "null") return text.includes("?") ? "***" : text;
  return pathname.length <= 1 && search === "" && hash === "" ? text : `${origin}/***`;
}
