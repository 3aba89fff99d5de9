/** npm, with only its registry and token changed, against a stand-in for the npm registry that refuses every other token. */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendJson, startStandIn } from "../support/stand-in.ts";
import { bodyOf } from "../support/upstream.ts";

const SECRET = "npm_secretOfTheVendor0123456789012345678";
const run = promisify(execFile);

/** What `npm publish` would have sent: a package whose module exports its own name. */
function pack(name: string): Buffer {
  const folder = tempFolder();
  mkdirSync(join(folder, "package"));
  writeFileSync(join(folder, "package/package.json"), JSON.stringify({ name, version: "1.2.3", main: "a.js" }));
  writeFileSync(join(folder, "package/a.js"), `module.exports = ${JSON.stringify(name)};\n`);
  execFileSync("tar", ["-czf", join(folder, "a.tgz"), "-C", folder, "package"]);
  return readFileSync(join(folder, "a.tgz"));
}

/** https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md. The URL of a tarball names the registry, as that of registry.npmjs.org does. */
function createRegistry() {
  const tarballs = new Map(["plain", "@acme/private"].map((name) => [name, pack(name)]));
  const published: string[] = [];
  const respond = async (req: IncomingMessage, res: ServerResponse) => {
    const path = decodeURIComponent((req.url ?? "").slice(1));
    if (path === "-/whoami") return sendJson(res, { username: "the-owner-of-the-token" });
    if (req.method === "PUT") {
      published.push(JSON.parse((await bodyOf(req)).toString()).name);
      return sendJson(res, { ok: true }, 201);
    }
    const [name = "", file] = path.split("/-/");
    const tarball = tarballs.get(name);
    if (tarball === undefined) return sendJson(res, { error: "Not found" }, 404);
    if (file !== undefined) return void res.end(tarball);
    const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
    const url = `https://registry.npmjs.org/${name}/-/${name.split("/").at(-1)}-1.2.3.tgz`;
    const version = { name, version: "1.2.3", main: "a.js", dist: { integrity, tarball: url } };
    sendJson(res, { name, "dist-tags": { latest: "1.2.3" }, versions: { "1.2.3": version } });
  };
  return { respond, published };
}

async function startNpm(secret = SECRET, hasPort = false) {
  const registry = createRegistry();
  const standIn = await startStandIn("npm", {
    hasPort,
    env: { NPM_TOKEN: secret },
    accepts: ({ headers }) => headers.authorization === `Bearer ${SECRET}`,
    respond: registry.respond,
    refuse: (_, res) => sendJson(res, { error: "Unauthorized" }, 401),
  });
  return { ...standIn, published: registry.published };
}

/** A folder whose .npmrc names the gateway, and npm in it. No request of npm can leave this machine. */
function createProject(url: string, token = PROXY_KEY) {
  const folder = tempFolder();
  const rules = [
    "audit=false",
    "fund=false",
    "update-notifier=false",
    "fetch-retries=0",
    "https-proxy=http://127.0.0.1:9",
    "noproxy=127.0.0.1",
  ];
  const config = [`registry=${url}/`, `${url.replace("http:", "")}/:_authToken=${token}`, ...rules];
  writeFileSync(join(folder, ".npmrc"), config.join("\n"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "app", version: "1.0.0" }));
  const env = { PATH: process.env.PATH, HOME: folder, npm_config_cache: join(folder, ".cache") };
  const npm = async (...words: string[]) => (await run("npm", words, { cwd: folder, env })).stdout;
  return { folder, npm };
}

describe("npm", { timeout: 60_000 }, () => {
  test("npm shows, installs and publishes packages, private ones with a scope too, with the gateway's key as its token", async () => {
    const { url, accepted, refused, published, received, gateway } = await startNpm();
    const { folder, npm } = createProject(url);
    expect((await npm("view", "@acme/private", "version")).trim()).toBe("1.2.3");
    expect((await npm("whoami")).trim()).toBe("the-owner-of-the-token");
    await npm("install", "plain", "@acme/private");
    const loaded = execFileSync(process.execPath, ["-p", "require('plain') + require('@acme/private')"], {
      cwd: folder,
    });
    expect(loaded.toString().trim()).toBe("plain@acme/private");
    await npm("publish");
    expect(published).toEqual(["app"]);
    expect(accepted).toEqual(
      expect.arrayContaining(["GET /@acme%2fprivate", "GET /@acme/private/-/private-1.2.3.tgz", "PUT /app"]),
    );
    expect(refused).toEqual([]);
    received();
    // The lockfile works without the gateway as well.
    const lock = readFileSync(join(folder, "package-lock.json"), "utf8");
    expect(lock).toContain("https://registry.npmjs.org/plain/-/plain-1.2.3.tgz");
    expect(lock).not.toContain(new URL(gateway.url).port);
    await npm("ci");
  });

  test("npm packs and installs through the port of the service, where the registry has no path", async () => {
    const { url, accepted, refused, received } = await startNpm(SECRET, true);
    const { folder, npm } = createProject(url);
    expect((await npm("pack", "plain")).trim()).toBe("plain-1.2.3.tgz");
    await npm("install", "@acme/private");
    expect(readFileSync(join(folder, "node_modules/@acme/private/a.js"), "utf8")).toContain("@acme/private");
    expect(accepted).toEqual(expect.arrayContaining(["GET /plain/-/plain-1.2.3.tgz", "GET /@acme%2fprivate"]));
    expect(refused).toEqual([]);
    received();
  });

  test("npm reports the gateway's 401 and the registry's", async () => {
    const { url, received } = await startNpm();
    await expect(createProject(url, "not-a-key-of-the-gateway").npm("view", "plain")).rejects.toThrow(/E401/);
    expect(received()).toBe("");
    const other = await startNpm("npm_expired0123456789");
    await expect(createProject(other.url).npm("view", "plain")).rejects.toThrow(/E401/);
    expect(other.accepted).toEqual([]);
    other.received();
  });
});
