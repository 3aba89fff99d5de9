/** The recipe that `byteproxy services add` uses, filled with the values of the command line. */
import { nearestName } from "../config/nearest-name.ts";
import { PRESETS } from "../config/presets.ts";
import { fillRecipe, type Recipe, readRecipe, recipeNames } from "../config/recipes.ts";
import { CliFailure } from "./cli-failure.ts";
import { authOptions, type ServiceOptions } from "./service-config.ts";

export interface RecipeOptions extends ServiceOptions {
  readonly recipe?: string;
  /** `host=acme.example`. */
  readonly set?: readonly string[];
}

export interface ChosenRecipe {
  readonly name: string;
  readonly recipe: Recipe;
  /** As in the services file. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The service is built in, with this key and this configuration. */
  readonly isBuiltIn: boolean;
}

/** The recipe that the options, or the key alone, name; undefined if they name a base URL or a configuration. @throws CliFailure */
export function chooseRecipe(key: string, options: RecipeOptions): ChosenRecipe | undefined {
  const { recipe: wanted, set = [], baseUrl, config, file } = options;
  const hasConfiguration = config !== undefined || file !== undefined;
  if (wanted === undefined && (hasConfiguration || baseUrl !== undefined)) {
    if (set.length === 0) return undefined;
    throw new CliFailure(2, ["--set is for the values of a recipe: name the recipe with --recipe."]);
  }
  if (hasConfiguration) throw new CliFailure(2, ["--recipe cannot be used with --config or --file."]);
  const name = wanted ?? key;
  const recipe = findRecipe(name);
  // A base URL on the command line replaces all URLs of the recipe, so that the credential goes to no other address.
  const filled = fillRecipe(recipe, { inputs: readValues(set), baseUrl });
  if ("problems" in filled) {
    throw new CliFailure(
      2,
      filled.problems.map((problem) => `${name}: ${problem}`),
    );
  }
  const { auth: original, ...rest } = filled.service;
  const auth = withOptions(name, original, options);
  const isBuiltIn = name === key && Object.hasOwn(PRESETS, key) && baseUrl === undefined && auth === original;
  return { name, recipe, config: { ...rest, ...(auth === undefined ? {} : { auth }) }, isBuiltIn };
}

function findRecipe(name: string): Recipe {
  const names = recipeNames();
  if (names.includes(name)) return readRecipe(name);
  const guess = nearestName(name, names);
  throw new CliFailure(2, [
    `services add needs --base-url, --config or --file, or the name of a recipe: there is no recipe ${JSON.stringify(name)}.${guess === undefined ? "" : ` Did you mean "${guess}"?`}`,
    "byteproxy services recipes lists all recipes.",
  ]);
}

function readValues(set: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    set.map((text) => {
      const at = text.indexOf("=");
      if (at > 0) return [text.slice(0, at), text.slice(at + 1)] as const;
      throw new CliFailure(2, ["--set is not valid. Allowed: name=value, like host=acme.example."]);
    }),
  );
}

type Auth = Readonly<Record<string, unknown>> | undefined;

/** The credential options of the command line take precedence: another source of the secret, or another credential with `--auth`. */
function withOptions(name: string, auth: Auth, options: RecipeOptions): Auth {
  const given = authOptions(options);
  const { tokenEnvVar, tokenFile } = given;
  if (given.type !== undefined) return given;
  if (Object.keys(given).length === 0) return auth;
  if (Object.keys(given).some((name) => name !== "tokenEnvVar" && name !== "tokenFile")) {
    throw new CliFailure(2, ["Options for the place of the secret, like --header-name and --username, need --auth."]);
  }
  if (auth?.secrets !== undefined) {
    throw new CliFailure(2, [`The recipe ${name} has several secrets: change them in the services file.`]);
  }
  const { tokenEnvVar: _variable, tokenFile: _file, tokenCommand: _command, ...rest } = auth ?? {};
  return { ...rest, ...(tokenFile === undefined ? { tokenEnvVar } : { tokenFile }) };
}
