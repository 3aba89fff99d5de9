/**
 * Swagger UI's files: where they are, for the page that needs them and for the build that copies them.
 * Invariant: they come from this machine. The build lays them beside this module; from the sources they are the installed package's.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** What a browser loads, by its name under /docs. */
export const ASSETS = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
} as const;

/** They must go wherever the files go: the package's own licence, and those of what is bundled in it. */
export const LICENCES = ["LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"] as const;

/** Where the build puts them. */
export const builtFolder = join(import.meta.dirname, "swagger-ui");

/** Where they were installed. @throws Error where the package is not: it is a dependency of development only. */
export function installedFolder(): string {
  return dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
}
