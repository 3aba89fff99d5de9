/** The last step of the build: copies Swagger UI's files beside the compiled page, so that the image needs no package for them. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { ASSETS, builtFolder, installedFolder, LICENSES } from "./assets.ts";

mkdirSync(builtFolder, { recursive: true });
for (const name of [...Object.keys(ASSETS), ...LICENSES]) {
  copyFileSync(join(installedFolder(), name), join(builtFolder, name));
}
