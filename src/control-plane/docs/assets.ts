/**
 * The locations of Swagger UI's files, for the page that serves them and for the build that copies them.
 * Invariant: the files come from this machine. The build puts them beside this module; without a build they come from the
 * installed package.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The files that a browser loads, by their name under /docs, with their types. */
export const ASSETS = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
} as const;

/** The licenses of the package and of the code bundled in it. They must be copied with the files. */
export const LICENSES = ["LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"] as const;

/** The directory of the build. */
export const builtFolder = join(import.meta.dirname, "swagger-ui");

/** The directory of the installed package. @throws Error if it is not installed: it is a development dependency. */
export function installedFolder(): string {
  return dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
}
