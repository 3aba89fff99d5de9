/**
 * Recipes: a services entry for each of many known APIs, in config/recipes/, one file for each.
 * Invariant: an input fills placeholders of base URLs only, so that it cannot change which secret is sent in which place.
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { ServiceInput } from "./schema.ts";

const text = z.string().min(1).max(300);

const input = z
  .strictObject({
    meaning: text.describe("what the value is"),
    default: text.optional().describe("used if the operator sets no value"),
    example: text.optional().describe("shown if the operator has to set a value"),
  })
  .refine((value) => (value.default === undefined) !== (value.example === undefined), "one of default and example");

const client = z.strictObject({
  name: text.describe("name of the SDK or program"),
  settings: z
    .record(z.string(), text)
    .describe("its options or variables; `{url}` is the service's URL at the gateway, and `{key}` the caller's key"),
  sends: text.describe(
    "the place in which it sends `{key}`: a header, `?name={key}`, or a path; `base64(user:{key})` for Basic",
  ),
});

/** One recipe file. */
export const recipeSchema = z.strictObject({
  documentation: z.url({ protocol: /^https$/ }).describe("the vendor's documentation of its authentication"),
  inputs: z
    .record(z.string().regex(/^[a-z]+$/), input)
    .default({})
    .describe("values for the placeholders `{name}` in base URLs"),
  variables: z
    .record(z.string().regex(/^[A-Z][A-Z0-9_]*$/), text)
    .describe("the variables that the operator sets, with their meaning"),
  service: z
    .looseObject({ name: text, baseUrl: text })
    .describe("the entry of the services file, with placeholders in its base URLs"),
  clients: z.array(client).default([]).describe("what known clients have to be set to"),
  note: text.optional(),
});

export type Recipe = z.output<typeof recipeSchema>;

const folder = new URL("../../config/recipes/", import.meta.url);

export function recipeNames(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .sort();
}

/** @param name one of `recipeNames()`. @throws for a file that is not a recipe: the package is damaged. */
export function readRecipe(name: string): Recipe {
  return recipeSchema.parse(JSON.parse(readFileSync(fileURLToPath(new URL(`${name}.json`, folder)), "utf8")));
}

/** A host name with an optional port, or a part of one. */
const INPUT_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$/;

export type FilledRecipe = { readonly service: ServiceInput } | { readonly problems: readonly string[] };

export interface RecipeValues {
  /** By the names of the recipe's inputs. */
  readonly inputs: ReadonlyMap<string, string>;
  /** Used in place of all URLs of the recipe, whose inputs then have no meaning. */
  readonly baseUrl?: string | undefined;
}

/** The services entry with values in place of its placeholders. */
export function fillRecipe(recipe: Pick<Recipe, "inputs" | "service">, values: RecipeValues): FilledRecipe {
  const { versionedBaseUrls: versions, ...rest } = recipe.service as ServiceInput;
  const filled = new Map<string, string>();
  const inputs = values.baseUrl === undefined ? recipe.inputs : {};
  const problems = [...checkInputs(inputs, values.inputs, filled), ...unknownInputs(inputs, values.inputs)];
  if (problems.length > 0) return { problems };
  if (values.baseUrl !== undefined) return { service: { ...rest, baseUrl: values.baseUrl } };
  const fill = (url: string) => url.replace(/\{([a-z]+)\}/g, (whole, name: string) => filled.get(name) ?? whole);
  const service = { ...rest, baseUrl: fill(rest.baseUrl) };
  if (versions === undefined) return { service };
  const filledVersions = Object.entries(versions).map(([version, url]) => [version, fill(url)] as const);
  return { service: { ...service, versionedBaseUrls: Object.fromEntries(filledVersions) } };
}

function checkInputs(inputs: Recipe["inputs"], values: ReadonlyMap<string, string>, filled: Map<string, string>) {
  const problems: string[] = [];
  for (const [name, { meaning, default: usual, example }] of Object.entries(inputs)) {
    const value = values.get(name) ?? usual;
    if (value === undefined) problems.push(`it needs the ${meaning}: --set ${name}=${example}`);
    else if (INPUT_VALUE.test(value)) filled.set(name, value);
    else problems.push(`${name} is not valid, allowed: the ${meaning}, like --set ${name}=${example ?? usual}`);
  }
  return problems;
}

function unknownInputs(inputs: Recipe["inputs"], values: ReadonlyMap<string, string>): string[] {
  const known = Object.keys(inputs);
  const allowed = known.length === 0 ? "there is none to set" : `allowed: ${known.join(", ")}`;
  const unknown = [...values.keys()].filter((name) => !known.includes(name));
  return unknown.map((name) => `unknown value ${JSON.stringify(name)} for --set, ${allowed}`);
}
