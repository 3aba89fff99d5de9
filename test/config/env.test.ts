import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { readEnvironment } from "../../src/config/env.ts";
import { type Env, type Files, tempFolder } from "./temp-folder.ts";

const read = (files: Files, processEnv: Env = {}) => readEnvironment({ processEnv, directory: tempFolder(files) });

afterEach(() => vi.restoreAllMocks());

describe("environment", () => {
  test("The file .env.local takes precedence over .env, and the process over both, and each value has its origin", () => {
    const { variables } = read({ ".env": "A=1\nB=1\nC=1", ".env.local": "B=2\nC=2" }, { C: "3" });
    expect(Object.fromEntries(variables)).toEqual({
      A: { value: "1", origin: ".env" },
      B: { value: "2", origin: ".env.local" },
      C: { value: "3", origin: "environment" },
    });
  });

  test("An empty value counts as unset and does not hide another value", () => {
    const { variables } = read({ ".env": "A=1\nB=\nC='  '" }, { A: " " });
    expect([...variables]).toEqual([["A", { value: "1", origin: ".env" }]]);
  });

  test("White space around a value is removed, and white space within it is kept", () => {
    expect(read({ ".env": 'A="  x  y  "' }).variables.get("A")?.value).toBe("x  y");
  });

  test("The environment lists the files that were read and those that were absent", () => {
    const { files } = read({ ".env.local": "A=1" });
    expect(files.map(({ state }) => state)).toEqual(["absent", "read"]);
  });

  test("An env file that cannot be read is a problem", () => {
    const directory = tempFolder();
    mkdirSync(join(directory, ".env"));
    const { files, problems } = readEnvironment({ processEnv: {}, directory });
    expect(files[0]?.state).toBe("unreadable");
    expect(problems).toEqual([".env: cannot be read: it is a directory"]);
  });

  test("Reading the environment does not change process.env and prints nothing", () => {
    const prints = [vi.spyOn(console, "log"), vi.spyOn(console, "error"), vi.spyOn(process.stdout, "write")];
    read({ ".env": "BYTEPROXY_TEST_ONLY=1\nDOTENV_DEBUG=true" });
    expect(process.env.BYTEPROXY_TEST_ONLY).toBeUndefined();
    for (const print of prints) expect(print).not.toHaveBeenCalled();
  });
});

describe("ignored lines", () => {
  test.each([
    ["a line without =", "A=1\n\nno assignment\n", [3]],
    ["an export without a value", "export A\n", [1]],
    ["a name with a space", "MY NAME=1\n", [1]],
    ["what follows a value of several lines", 'A="x\ny"\nstray\n', [3]],
    ["a line of a CRLF file", "A=1\r\nstray\r\nB=2", [2]],
    ["a quote that is never closed", 'A="abc\nB=2', [1]],
    ["several of them", "x\ny\nA=1\nz", [1, 2, 4]],
  ])("A line that dotenv ignores is reported with its number: %s", (_, text, lines) => {
    const { problems } = read({ ".env": text });
    expect(problems.map((line) => Number(/^\.env:(\d+):/.exec(line)?.[1]))).toEqual(lines);
  });

  test.each([
    ["comments, blank lines and white space", "# c\n\n   \n  # d\nA=1 # e"],
    ["export", "export A=1"],
    ["a colon", "A: 1"],
    ["a value of several lines", 'A="one\ntwo # no comment\nB=3\n"\nC=1'],
    ["the same variable twice", "A=1\nA=2"],
    ["a value of several lines that a later one replaces", "A='x\ny'\nA=2"],
    ["a quote inside of other quotes", `A='"'\nB="it's"\nC=it's`],
    ["an empty value", "A=\nB=''"],
    ["a byte order mark", "\uFEFFA=1"],
  ])("A valid line is not reported: %s", (_, text) => {
    expect(read({ ".env": text }).problems).toEqual([]);
  });

  test("The text of an ignored line is never shown", () => {
    const { problems } = read({ ".env": "PASSWORD hunter2hunter2\nX='hunter2hunter2" });
    expect(problems).toHaveLength(2);
    expect(problems.join()).not.toContain("hunter2");
  });

  test.each(["A=abc#def", "A=#def", "export A=abc#def"])("A # that shortens a value causes a warning: %s", (text) => {
    const { problems, warnings } = read({ ".env": text });
    expect(problems).toEqual([]);
    expect(warnings).toEqual([
      '.env:1: A ends before the "#", which starts a comment; put the value in quotes to keep it',
    ]);
  });

  test.each(["A=abc #def", 'A="abc#def"', "A='#'", "# A=b#c"])(
    "A # that is a comment or quoted causes no warning: %s",
    (text) => {
      expect(read({ ".env": text }).warnings).toEqual([]);
    },
  );
});
