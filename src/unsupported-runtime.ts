/**
 * Why this JavaScript runtime cannot run the gateway.
 * Invariant: it imports nothing, so that it runs before any code that such a runtime may not be able to load.
 */

/** As in `engines` of package.json. */
const OLDEST_NODE = [20, 19] as const;

/** One line, or undefined for a runtime that the gateway runs on. @param versions `process.versions`. */
export function findUnsupportedRuntime(versions: Readonly<Record<string, string | undefined>>): string | undefined {
  const [major, minor] = OLDEST_NODE;
  const needed = `ByteProxy needs Node.js ${major}.${minor} or later`;
  if (versions.bun !== undefined) {
    return `${needed} and does not run on Bun: its node:http lacks what the gateway needs. Run it with Node.js: npx byteproxy.`;
  }
  const [ownMajor = 0, ownMinor = 0] = (versions.node ?? "").split(".").map(Number);
  if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) return undefined;
  return `${needed}; this is ${versions.node ?? "another runtime"}. Install a newer version from https://nodejs.org.`;
}
