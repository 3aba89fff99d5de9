/** `byteproxy init`: creates a configuration with which the gateway starts, and overwrites no file. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { servicesFileEditorSchema } from "../../src/config/json-schema.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { builtMain } from "../support/built.ts";
import { startProcess } from "../support/process.ts";

const FILES = ["config/services.json", "config/services.schema.json", ".env", ".gitignore"];

/** Runs a command in an existing folder. */
function inFolder(cwd: string, ...words: string[]): string {
  const env = { PATH: process.env.PATH ?? "" };
  return execFileSync(process.execPath, [builtMain, ...words], { cwd, env, encoding: "utf8", stdio: "pipe" });
}

const keyIn = (folder: string, name: string) =>
  new RegExp(`^${name}=(\\S{43})$`, "m").exec(readFileSync(join(folder, ".env"), "utf8"))?.[1] as string;

test("The created configuration is valid and protected, and the gateway starts with it", async () => {
  const run = startProcess({ PORT: "" }, ["init"]);
  expect(await run.ended).toBe(0);
  const folder = run.directory;
  expect(FILES.every((path) => existsSync(join(folder, path)))).toBe(true);
  expect(statSync(join(folder, ".env")).mode & 0o777).toBe(0o600);
  const [proxyKey, managementKey] = [keyIn(folder, "PROXY_API_KEY"), keyIn(folder, "MANAGEMENT_API_KEY")];
  expect(proxyKey).not.toBe(managementKey);
  expect(run.out() + run.err()).not.toContain(proxyKey);

  const checked = JSON.parse(inFolder(folder, "check", "--json"));
  expect(checked).toMatchObject({ ok: true, problems: [], warnings: [] });
  expect(checked.services).toContainEqual({ key: "example", credential: "none" });

  const gateway = startProcess({}, [], {}, ["sh", "-c", `cd '${folder}' && exec "$0" "$@"`, process.execPath]);
  const url = `http://127.0.0.1:${await gateway.port()}`;
  const ask = async (path: string, key: string) => (await fetch(url + path, { headers: { "x-api-key": key } })).status;
  expect(await ask("/proxy/echo/x", "")).toBe(401);
  expect(await ask("/proxy/echo/x", proxyKey)).toBe(200);
  expect(await ask("/manage/services/example", managementKey)).toBe(200);

  // In another folder: the commands that init and the start print find the key by themselves.
  const [tryIt = ""] = /^ {2}curl .*$/m.exec(run.out()) ?? [];
  const started = [...gateway.out().matchAll(/"Try: (curl .*?)"\}/g)].map(
    (match) => JSON.parse(`"${match[1]}"`) as string,
  );
  expect(started).toHaveLength(3);
  for (const command of [tryIt.replace("http://localhost:3420", url), ...started]) {
    const status = execFileSync("sh", ["-c", `${command} -s -o /dev/null -w '%{http_code}'`], {
      cwd: "/",
      encoding: "utf8",
    });
    expect(status, command).toBe("200");
  }
}, 20_000);

test("The created schema for editors is the one by which the services file is validated", () => {
  const folder = tempFolder();
  inFolder(folder, "init");
  const services = JSON.parse(readFileSync(join(folder, "config/services.json"), "utf8"));
  const schema = readFileSync(join(folder, "config", services.$schema), "utf8");
  expect(schema).toBe(servicesFileEditorSchema());
  const validate = new Ajv2020({ strict: false }).compile(JSON.parse(schema));
  expect([validate(services), validate.errors]).toEqual([true, null]);
});

test("Existing files are kept byte for byte, and listed as kept", () => {
  const folder = tempFolder({ ".env": "PORT=3999\n", "config/services.json": "{}" });
  const printed = JSON.parse(inFolder(folder, "init", "--json"));
  expect(printed).toEqual({
    written: ["config/services.schema.json", ".gitignore"],
    kept: ["config/services.json", ".env"],
  });
  expect(readFileSync(join(folder, ".env"), "utf8")).toBe("PORT=3999\n");
  expect(readFileSync(join(folder, "config/services.json"), "utf8")).toBe("{}");
  expect(inFolder(folder, "init")).toMatch(/^kept {5}config\/services\.json \(it exists\)$/m);
  expect(JSON.parse(inFolder(folder, "init", "--json"))).toEqual({ written: [], kept: FILES });
});

test("The secrets are excluded from version control, or a note says that they are not", async () => {
  const ignoring = tempFolder();
  inFolder(ignoring, "init");
  expect(readFileSync(join(ignoring, ".gitignore"), "utf8")).toBe(".env\n.env.local\ndata/\n");
  const run = startProcess({}, ["init"], { ".gitignore": "dist\n" });
  expect(await run.ended).toBe(0);
  expect(run.err()).toMatch(/^Keep \.env and data\/ out of version control/);
});

test("A folder that cannot be written exits with 1 and one line, and an unknown argument with 2", async () => {
  const run = startProcess({}, ["init"], { config: "a file of this name" });
  expect([await run.ended, run.err()]).toEqual([1, expect.stringMatching(/^\S+ could not be written: ENOTDIR\n$/)]);
  expect(readdirSync(run.directory)).toEqual(["config"]);
  expect(await startProcess({}, ["init", "there"]).ended).toBe(2);
  const typo = startProcess({}, ["innit"]);
  expect([await typo.ended, typo.err()]).toEqual([2, expect.stringContaining("(Did you mean init?)")]);
});
