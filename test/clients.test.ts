/** docs/clients.md: its table of clients, compared with the tests that it names. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

const ROWS = [...read("docs/clients.md").matchAll(/^\| ([^|]+) \|.*\| ([^|]*\.test\.ts[^|]*) \|$/gm)].map(
  ([, client = "", tests = ""]) =>
    [client, [...tests.matchAll(/\]\(\.\.\/(test\/[^)]+)\)/g)].map(([, file = ""]) => file)] as const,
);

test.each(ROWS)("%s is run by the tests that docs/clients.md names", (client, files) => {
  const [name = ""] = client.split(/[, ]/);
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) expect([file, read(file).includes(name)]).toEqual([file, true]);
});

test("docs/clients.md names every SDK that a test runs", () => {
  const { devDependencies } = JSON.parse(read("package.json")) as { devDependencies: Record<string, string> };
  const files = readdirSync(join(root, "test/scenarios")).filter((name) => /^(?:sdk-|real-clients)/.test(name));
  const imported = files.flatMap((file) => {
    const names = [...read(`test/scenarios/${file}`).matchAll(/ from "([^".]+)"/g)].map(([, name = ""]) => name);
    return names.filter((name) => name in devDependencies && !["vitest", "fast-check", "undici"].includes(name));
  });
  const named = ROWS.map(([client]) => client).join(" ");
  expect(imported.length).toBeGreaterThan(10);
  for (const name of imported) expect(named).toContain(name);
});
