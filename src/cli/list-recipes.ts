/** `byteproxy services recipes`. */
import { readRecipe, recipeNames } from "../config/recipes.ts";
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
  const rows = recipes.map(({ name, service, variables, inputs }) => {
    const needed = Object.entries(inputs).flatMap(([input, { example }]) => (example === undefined ? [] : [input]));
    return [name, service.name, [...needed.map((input) => `--set ${input}=…`), ...Object.keys(variables)].join(" ")];
  });
  printTable(["RECIPE", "API", "NEEDS"], rows);
}
