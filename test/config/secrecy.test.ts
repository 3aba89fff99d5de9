import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format, inspect } from "node:util";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ConfigProblems, loadConfig } from "../../src/config/load-config.ts";
import { Secret } from "../../src/config/secret.ts";
import { tempFolder } from "./temp-folder.ts";

/** As long as real tokens: shorter words are shown, so that a typing error can be found. */
const LONG_PART = "0123456789abcdefghijklmnopqrstuvwxyz";
const SECRET = `sk-live-${LONG_PART}-end`;

const YAML = `services:
  github:
    timeoutMs: 3000
    headers:
      X-Token: ${SECRET}
  mine:
    baseUrl: https://user:${SECRET}@api.example.com/?key=${SECRET}
    setHeaders: {Cookie: "a=${SECRET}"}
    auth:
      type: bearer
      tokenEnvVar: ${SECRET}
      token: ${SECRET}
    retries: 2
`;
const JSON_TEXT = JSON.stringify(
  {
    services: {
      mine: {
        baseUrl: "https://api.example.com/",
        headers: { Authorization: `Bearer ${SECRET}` },
        auth: { type: "api-key", headerName: "X-Key", tokenFile: SECRET, password: SECRET },
        rateLimit: { maxRequests: 5, windowMs: 60_000 },
      },
    },
  },
  null,
  2,
);

/** A text with some characters removed or replaced, as by mistakes in an editor. */
const damaged = (text: string) => {
  const noise = fc.constantFrom(
    "",
    "",
    '"',
    "'",
    ":",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\n",
    " ",
    "*",
    "&",
    "!",
    "#",
    "\\",
    "|",
    "-",
    "\t",
  );
  const edits = fc.array(fc.tuple(fc.nat(text.length), fc.nat(3), noise), { minLength: 1, maxLength: 6 });
  return edits.map((list) =>
    list.reduce((now, [at, cut, insert]) => now.slice(0, at) + insert + now.slice(at + cut), text),
  );
};

/** Loads a configuration and returns its problems and warnings. Any error but ConfigProblems is thrown. */
async function sayings(directory: string): Promise<string> {
  try {
    return (await loadConfig({ processEnv: {}, directory })).warnings.join("\n");
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
    for (const line of error.problems) expect(line).not.toContain("\n");
    return `${error.message}\n${error.problems.join("\n")}`;
  }
}

afterEach(() => vi.restoreAllMocks());

test("A secret is masked when it is printed, joined, serialized or inspected", () => {
  const secret = new Secret(SECRET);
  for (const shown of [`${secret}`, JSON.stringify({ secret }), inspect({ secret }), format("%s %o", secret, secret)]) {
    expect(shown).not.toContain(SECRET);
    expect(shown).toContain("***");
  }
});

describe("services file", () => {
  test("No services file causes another error than ConfigProblems", async () => {
    const directory = tempFolder({ "config/services.json": "" });
    const texts = fc.oneof(fc.string({ unit: "binary", maxLength: 200 }), fc.json(), damaged(JSON_TEXT), damaged(YAML));
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        writeFileSync(join(directory, "config/services.json"), text);
        await sayings(directory);
      }),
      { numRuns: 120 },
    );
  }, 30_000);

  test("No problem or warning shows a secret of the services file", async () => {
    const prints = [vi.spyOn(process, "emitWarning"), vi.spyOn(process.stderr, "write"), vi.spyOn(console, "warn")];
    const directory = tempFolder({ "config/services.json": "" });
    await fc.assert(
      fc.asyncProperty(fc.oneof(damaged(JSON_TEXT), damaged(YAML)), async (text) => {
        writeFileSync(join(directory, "config/services.json"), text);
        expect(await sayings(directory)).not.toContain(LONG_PART);
      }),
      { numRuns: 120 },
    );
    for (const print of prints) expect(print).not.toHaveBeenCalled();
  }, 30_000);
});

describe("env file", () => {
  test("No env file causes an exception, and no ignored text is shown", async () => {
    const directory = tempFolder();
    const text = `# c\nMY_TOKEN=${SECRET}\nexport OTHER='${SECRET}'\nPROXY_API_KEY="${SECRET}"\nMULTI="a\n${SECRET}\nb"\n`;
    await fc.assert(
      fc.asyncProperty(damaged(text), async (damagedText) => {
        writeFileSync(join(directory, ".env"), damagedText);
        expect(await sayings(directory)).not.toContain(LONG_PART);
      }),
      { numRuns: 120 },
    );
    rmSync(join(directory, ".env"));
  });
});
