import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { PRESETS } from "../src/config/presets.ts";
import { NOT_YET, settingsSchema } from "../src/config/settings.ts";
import { CHECKS, SERVICE_CHECKS } from "../src/diagnostics/diagnostics.ts";
import { CATALOG } from "../src/errors.ts";
import { referenceFiles } from "../src/generate-reference.ts";
import { load, problemsOf, tempFolder } from "./config/temp-folder.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const inRepository = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8");
const files = referenceFiles();

describe("the generated reference", () => {
  it.each([...files.keys()])("says what the code says: %s (run npm run docs)", (path) => {
    expect(inRepository(path)).toBe(files.get(path));
  });

  it("names every variable, every later variable and every error code", () => {
    for (const name of [...Object.keys(settingsSchema.shape), ...Object.keys(NOT_YET)]) {
      expect(files.get("docs/configuration.md")).toContain(`| \`${name}\` |`);
    }
    for (const [code, { status }] of Object.entries(CATALOG)) {
      expect(files.get("docs/errors.md")).toContain(`| ${status} | \`${code}\` |`);
    }
  });

  it("has a meaning and a word for what is allowed in every row", () => {
    expect(files.get("docs/configuration.md")).not.toMatch(/\| *\|/);
  });
});

describe("docs/configuration.md", () => {
  it("has an example that loads", async () => {
    const example = /```json\n([\s\S]*?)```/.exec(files.get("docs/configuration.md") ?? "")?.[1] ?? "";
    expect([...(await load({ "config/services.json": example })).services.keys()]).toContain("billing");
  });
});

describe("docs/troubleshooting.md", () => {
  it("names every check, and no other", () => {
    const [byHand = ""] = inRepository("docs/troubleshooting.md").split("## What the checks find");
    const ids = new Set([...CHECKS.map(({ id }) => id), ...SERVICE_CHECKS.map(({ id }) => `${id}:<service>`)]);
    const column = [...byHand.matchAll(/^\|[^|]*\|[^|]*\| ([^|]*) \|/gm)].map((match) => match[1] as string);
    const named = new Set(column.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1])));
    expect([...named].sort()).toEqual([...ids].sort());
  });
});

describe(".env.example", () => {
  const example = files.get(".env.example") ?? "";

  it("changes nothing as it is", async () => {
    expect(await problemsOf({ ".env": example })).toEqual([]);
  });

  it("states the defaults: with every line in use the settings are the same", async () => {
    const directory = tempFolder();
    const used = example.replace(/^# ([A-Z_]+=)/gm, "$1");
    const { DATA_DIR: _dataDir, CONFIG_FILE: _configFile, ...defaults } = (await load()).settings;
    const text = used.replace(/^(CONFIG_FILE)=.*$/m, "$1=services.json").replace(/^(DATA_DIR)=.*$/m, `$1=${directory}`);
    expect((await load({ ".env": text, "services.json": "{}" })).settings).toMatchObject(defaults);
  });

  it("names the variables of the built-in services", () => {
    for (const { auth } of Object.values(PRESETS)) {
      if (auth?.tokenEnvVar !== undefined) expect(example).toContain(`\n# ${auth.tokenEnvVar}=\n`);
    }
  });
});

describe("config/services.json", () => {
  it("is the empty services file that the reference starts from", async () => {
    const text = inRepository("config/services.json");
    expect(JSON.parse(text)).toEqual({ $schema: "./services.schema.json", services: {} });
    expect(await problemsOf({ "config/services.json": text })).toEqual([]);
  });
});

describe("the pages that people write", () => {
  const pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ...markdownUnder("docs")];

  it.each(pages)("%s links only to what is there", (page) => {
    const links = [...inRepository(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((match) => match[1] as string);
    expect(links.filter((link) => !existsSync(join(root, dirname(page), link)))).toEqual([]);
  });

  it("lead to every decision", () => {
    const index = inRepository("docs/decisions/README.md");
    const decisions = readdirSync(join(root, "docs/decisions")).filter((name) => name !== "README.md");
    expect(decisions.filter((name) => !index.includes(`(${name})`))).toEqual([]);
  });

  it("name only commands that exist", () => {
    const { scripts } = JSON.parse(inRepository("package.json")) as { scripts: Record<string, string> };
    const named = pages.flatMap((page) =>
      [...inRepository(page).matchAll(/`?npm run ([a-z]+)/g)].map((match) => match[1] as string),
    );
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  it("show every code of the catalogue, and the life of a request every step of the pipeline", () => {
    const life = inRepository("docs/life-of-a-request.md");
    for (const step of ["identify", "authenticate", "authorize", "rate-limit", "record"])
      expect(life).toContain(`${step}.ts`);
    for (const code of Object.keys(CATALOG)) expect(inRepository("docs/errors.md")).toContain(`\`${code}\``);
  });
});

function markdownUnder(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name}`);
}
