import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { PRESETS } from "../src/config/presets.ts";
import { NOT_YET, settingsSchema } from "../src/config/settings.ts";
import { CHECKS, SERVICE_CHECKS } from "../src/diagnostics/diagnostics.ts";
import { CATALOG } from "../src/error-catalog.ts";
import { referenceFiles } from "../src/generate-reference.ts";
import { load, problemsOf, tempFolder } from "./config/temp-folder.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const inRepository = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8");
const files = referenceFiles();

describe("Generated pages", () => {
  it.each([...files.keys()])("%s matches the code (if not, run npm run docs)", (path) => {
    expect(inRepository(path)).toBe(files.get(path));
  });

  it("The reference names every variable, every unsupported variable and every error code", () => {
    for (const name of [...Object.keys(settingsSchema.shape), ...Object.keys(NOT_YET)]) {
      expect(files.get("docs/configuration.md")).toContain(`| \`${name}\` |`);
    }
    for (const [code, { status }] of Object.entries(CATALOG)) {
      expect(files.get("docs/errors.md")).toContain(`| ${status} | \`${code}\` |`);
    }
  });

  it("The tables of docs/configuration.md have no empty cell", () => {
    expect(files.get("docs/configuration.md")).not.toMatch(/\| *\|/);
  });
});

describe("docs/configuration.md", () => {
  it("The example in docs/configuration.md is a valid services file", async () => {
    const example = /```json\n([\s\S]*?)```/.exec(files.get("docs/configuration.md") ?? "")?.[1] ?? "";
    expect([...(await load({ "config/services.json": example })).services.keys()]).toContain("billing");
  });
});

describe("docs/login.md", () => {
  it("The definitions in docs/login.md are valid services, and each takes its refresh token from a login", async () => {
    const blocks = [...inRepository("docs/login.md").matchAll(/```json\n([\s\S]*?)```/g)];
    const loaded = await Promise.all(blocks.map(([, text = ""]) => load({ "config/services.json": text })));
    const documented = ["spotify", "github-user", "google-drive", "slack-user", "notion-user"];
    const found = loaded.flatMap(({ services }) =>
      documented.map((key) => services.get(key)?.auth?.refreshToken ?? []),
    );
    expect(found.flat()).toEqual(documented.map(() => "login"));
  });
});

describe("docs/troubleshooting.md", () => {
  it("The symptoms in docs/troubleshooting.md name every check, and no other", () => {
    const [byHand = ""] = inRepository("docs/troubleshooting.md").split("## What the checks find");
    const ids = new Set([...CHECKS.map(({ id }) => id), ...SERVICE_CHECKS.map(({ id }) => `${id}:<service>`)]);
    const column = [...byHand.matchAll(/^\|[^|]*\|[^|]*\| ([^|]*) \|/gm)].map((match) => match[1] as string);
    const named = new Set(column.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1])));
    expect([...named].sort()).toEqual([...ids].sort());
  });
});

describe(".env.example", () => {
  const example = files.get(".env.example") ?? "";

  it(".env.example changes nothing as it is", async () => {
    expect(await problemsOf({ ".env": example })).toEqual([]);
  });

  it(".env.example states the defaults: with every line in use the settings are the same", async () => {
    const directory = tempFolder();
    const used = example.replace(/^# ([A-Z_]+=)/gm, "$1");
    const { DATA_DIR: _dataDir, CONFIG_FILE: _configFile, ...defaults } = (await load()).settings;
    const text = used.replace(/^(CONFIG_FILE)=.*$/m, "$1=services.json").replace(/^(DATA_DIR)=.*$/m, `$1=${directory}`);
    expect((await load({ ".env": text, "services.json": "{}" })).settings).toMatchObject(defaults);
  });

  it(".env.example names the variables of the built-in services", () => {
    for (const { auth } of Object.values(PRESETS)) {
      if (auth?.tokenEnvVar !== undefined) expect(example).toContain(`\n# ${auth.tokenEnvVar}=\n`);
    }
  });
});

describe("config/services.json", () => {
  it("config/services.json is an empty, valid services file", async () => {
    const text = inRepository("config/services.json");
    expect(JSON.parse(text)).toEqual({ $schema: "./services.schema.json", services: {} });
    expect(await problemsOf({ "config/services.json": text })).toEqual([]);
  });
});

const pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ...markdownUnder("docs")];
const docsPages = pages.filter((page) => page.startsWith("docs/"));

const typescriptFiles = ["src", "test", "bench"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name}`),
);

describe("Pages", () => {
  it.each(pages)("%s links only to files and headings that exist", (page) => {
    const links = [...inRepository(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map((match) => match[1] as string);
    expect(links.filter((link) => !resolves(page, link))).toEqual([]);
  });

  it.each(docsPages)("%s begins with one line that says who it is for", (page) => {
    const [, firstLine = ""] = /^# .+\n\n(?:<!--.*-->\n\n)?(.*)/.exec(inRepository(page)) ?? [];
    expect(firstLine).toMatch(/^For .+[.:,]?$/);
  });

  it.each(docsPages)("%s has fewer than 1,500 words, without its generated parts", (page) => {
    expect(wordsIn(withoutGenerated(inRepository(page)))).toBeLessThan(1500);
  });

  it("docs/README.md lists every page, and docs/decisions/README.md every decision", () => {
    const listed = ["docs/README.md", "docs/decisions/README.md"].flatMap((index) =>
      [...inRepository(index).matchAll(/\]\(([^)#\s]+)/g)].map((match) => join(dirname(index), match[1] as string)),
    );
    expect(docsPages.filter((page) => page !== "docs/README.md" && !listed.includes(page))).toEqual([]);
  });

  it("The pages name only npm scripts that exist", () => {
    const { scripts } = JSON.parse(inRepository("package.json")) as { scripts: Record<string, string> };
    const named = pages.flatMap((page) =>
      [...inRepository(page).matchAll(/`?npm run ([a-z-]+)/g)].map((match) => match[1] as string),
    );
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  it.each(pages)("%s names only TypeScript files that exist", (page) => {
    const named = [...inRepository(page).matchAll(/(?:\.\.\/)*([\w./-]+\.ts)\b/g)].map((match) => match[1] as string);
    expect(named.filter((name) => !typescriptFiles.some((path) => path === name || path.endsWith(`/${name}`)))).toEqual(
      [],
    );
  });

  it("docs/life-of-a-request.md names the file of each step", () => {
    const life = inRepository("docs/life-of-a-request.md");
    const walk = ["pipeline.ts", "admission.ts"]
      .map((name) => `src/data-plane/${name}`)
      .filter((path) => existsSync(join(root, path)));
    const decisions = walk.flatMap((path) =>
      [...inRepository(path).matchAll(/import \{[^}]*\bdecide\w+[^}]*\} from "(?:\.{1,2}\/)*([\w/.-]+)"/g)].map(
        (match) => match[1] as string,
      ),
    );
    expect(decisions.length).toBeGreaterThan(5);
    expect([...decisions, "callers.ts", "record.ts"].filter((path) => !life.includes(basename(path)))).toEqual([]);
  });

  it("docs/errors.md shows every code of the catalog", () => {
    for (const code of Object.keys(CATALOG)) expect(inRepository("docs/errors.md")).toContain(`\`${code}\``);
  });
});

function markdownUnder(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name}`);
}

function resolves(page: string, link: string): boolean {
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? page : join(dirname(page), path);
  if (!existsSync(join(root, target))) return false;
  return anchor === undefined || !target.endsWith(".md") || anchorsOf(target).has(anchor);
}

/** The anchors that GitHub gives to the headings of a page; of a heading that repeats, only the first. */
function anchorsOf(page: string): Set<string> {
  const headings = [...withoutCode(inRepository(page)).matchAll(/^#{1,6} (.+)$/gm)].map((match) => match[1] as string);
  return new Set(
    headings.map((heading) => {
      const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
      return text.replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    }),
  );
}

function withoutCode(page: string): string {
  return page.replace(/^```[\s\S]*?^```$/gm, "");
}

/** In a page that is generated as a whole, the tables are the generated part. */
function withoutGenerated(page: string): string {
  const isGenerated = /^# .+\n\n<!-- Generated/.test(page);
  const byHand = page.replace(/<!-- Generated by [\s\S]*?: begin -->[\s\S]*?<!-- Generated: end -->/g, "");
  return isGenerated ? byHand.replace(/^\|.*$/gm, "") : byHand;
}

function wordsIn(text: string): number {
  return text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
}
