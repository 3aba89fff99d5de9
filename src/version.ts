/** The running version, read from the package: correct in a checkout, an installed package and an image. */
import { readFileSync } from "node:fs";

const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };

export const version = {
  name: "byteproxy",
  version: manifest.version,
  /** Written by the build of the image; null elsewhere. */
  commit: commit(),
  runtime: `node ${process.versions.node}`,
  platform: `${process.platform} ${process.arch}`,
} as const;

function commit(): string | null {
  try {
    return readFileSync(new URL("../COMMIT", import.meta.url), "utf8").trim();
  } catch {
    return null;
  }
}
