/** `byteproxy services recipes`. */
import { type Recipe, readRecipe, recipeNames } from "../config/recipes.ts";
import type { ServiceInput } from "../config/schema.ts";
import { printJson, printTable } from "./output.ts";

export function listRecipes({ json = false }: { readonly json?: boolean }): void {
  const recipes = recipeNames().map((name) => ({ name, ...readRecipe(name) }));
  if (json) {
    return printJson({
      recipes: recipes.map(({ name, service, documentation, variables, inputs, note }) => {
        return { name, api: service.name, baseUrl: service.baseUrl, documentation, variables, inputs, note };
      }),
      count: recipes.length,
    });
  }
  printTable(
    ["RECIPE", "API", "NEEDS"],
    recipes.map((recipe) => [recipe.name, recipe.service.name, needsOf(recipe).join(" ")]),
  );
}

/** Values without a default, variables, and the program that prints the secret. */
function needsOf({ inputs, variables, service }: Recipe): string[] {
  const { auth } = service as Partial<ServiceInput>;
  const needed = Object.entries(inputs).filter(([, { example }]) => example !== undefined);
  return [
    ...needed.map(([name]) => `--set ${name}=…`),
    ...Object.keys(variables),
    ...(auth?.tokenCommand?.slice(0, 1) ?? []),
  ];
}
