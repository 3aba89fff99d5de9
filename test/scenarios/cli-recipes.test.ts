/** `byteproxy services add <recipe>` as an operator runs it, with and without a running gateway. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { chooseRecipe, type RecipeOptions } from "../../src/cli/choose-recipe.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { runCommand } from "../support/run-command.ts";

/** Commands that add recipes to the services file of one folder. */
function folderWithFile(text?: string) {
  const path = join(tempFolder(), "services.json");
  if (text !== undefined) writeFileSync(path, text);
  const env = { CONFIG_FILE: path };
  return {
    path,
    add: (...words: string[]) => runCommand(env, ["services", "add", ...words, "--offline"]),
    check: () => runCommand(env, ["check"]),
    services: () => JSON.parse(readFileSync(path, "utf8")).services,
  };
}

describe("offline", () => {
  test("A recipe is written to the services file, which is valid afterwards, and the command says what is left to set", async () => {
    const { add, check, services } = folderWithFile();
    const slack = await add("slack");
    expect(slack).toMatchObject({ code: 0, err: "" });
    expect(slack.out.split("\n")).toEqual([
      expect.stringMatching(
        /^slack is in \S+services\.json: \/proxy\/slack\/ leads to https:\/\/slack\.com\/api\/ after/,
      ),
      expect.stringMatching(/^Set SLACK_BOT_TOKEN for the gateway: bot token/),
      "Set in @slack/web-api: token = <gateway key>, slackApiUrl = <gateway>/proxy/slack/",
      expect.stringMatching(/^Note: byteproxy login obtains a token of a person/),
      expect.stringMatching(/^The vendor's documentation: https:\/\//),
      "",
    ]);
    const own = await add("git", "--recipe", "gitlab", "--set", "host=git.acme.example", "--token-file", "t", "--json");
    expect([own.code, JSON.parse(own.out)]).toMatchObject([0, { key: "git", source: "file", config: services().git }]);
    expect(services().git).toMatchObject({
      baseUrl: "https://git.acme.example/api/v4/",
      versionedBaseUrls: { api: "https://git.acme.example/api/" },
      auth: { type: "api-key", headerName: "PRIVATE-TOKEN", tokenFile: "t" },
    });
    expect(services().git.auth).not.toHaveProperty("tokenEnvVar");
    expect((await check()).out).toContain("The configuration is valid: 7 services.");
  }, 20_000);

  test("A built-in service gets an entry that changes nothing of it", async () => {
    const { add, services } = folderWithFile('{\n  "services": {}\n}\n');
    expect((await add("openai")).code).toBe(0);
    expect(services()).toEqual({ openai: {} });
    expect((await add("github", "--token-env-var", "MY_TOKEN")).code).toBe(0);
    expect(services().github).toMatchObject({ baseUrl: "https://api.github.com/", auth: { tokenEnvVar: "MY_TOKEN" } });
  }, 20_000);

  test("A base URL on the command line replaces all URLs of the recipe", async () => {
    const { add, services } = folderWithFile();
    await add("gitlab", "--recipe", "gitlab", "--base-url", "http://127.0.0.1:8080/api/v4/");
    expect(services().gitlab).toMatchObject({ baseUrl: "http://127.0.0.1:8080/api/v4/" });
    expect(services().gitlab).not.toHaveProperty("versionedBaseUrls");
  });

  test("The mode of the services file and a symbolic link to it stay, and DATA_DIR is not created", async () => {
    const { path } = folderWithFile('{\n  "services": {}\n}\n');
    chmodSync(path, 0o640);
    const link = join(tempFolder(), "link.json");
    symlinkSync(path, link);
    const data = join(tempFolder(), "data");
    const { code } = await runCommand({ CONFIG_FILE: link, DATA_DIR: data }, ["services", "add", "slack", "--offline"]);
    expect([code, statSync(path).mode & 0o777, readFileSync(link, "utf8")]).toEqual([
      0,
      0o640,
      expect.stringContaining("slack.com"),
    ]);
    expect(existsSync(data)).toBe(false);
  });

  test("Commands at the same time all add their service, although one that was killed left its lock", async () => {
    const { add, services, path } = folderWithFile('{\n  "services": {}\n}\n');
    const lock = `${path}.lock`;
    writeFileSync(lock, "1\n");
    utimesSync(lock, 0, 0);
    const names = ["slack", "stripe", "notion", "gitlab"];
    const runs = await Promise.all(names.map((name) => add(name)));
    expect(runs.map(({ code }) => code)).toEqual(names.map(() => 0));
    expect(Object.keys(services()).toSorted()).toEqual(names.toSorted());
    expect(readdirSync(dirname(path))).toEqual(["services.json"]);
  }, 30_000);

  test("What is no file is not replaced: a link to a file that does not exist, a pipe, a folder", async () => {
    const folder = tempFolder();
    const [link, pipe] = [join(folder, "link.json"), join(folder, "pipe.json")];
    symlinkSync("nowhere.json", link);
    execFileSync("mkfifo", [pipe]);
    const runs = await Promise.all(
      [link, pipe, folder].map((path) => runCommand({ CONFIG_FILE: path }, ["services", "add", "slack", "--offline"])),
    );
    expect(runs.map(({ code, err }) => [code, err.replace(/^.*cannot/, "cannot")])).toEqual([
      [2, "cannot be read: it is a link to a file that does not exist\n"],
      [2, "cannot be read: it is not a file\n"],
      [2, "cannot be read: it is not a file\n"],
    ]);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
  }, 20_000);

  test("A command that cannot be carried out exits with 2, says what is allowed and leaves the file as it was", async () => {
    const text = '{\n  "services": { "slack": { "baseUrl": "https://a.example/" } }\n}\n';
    const { add, path } = folderWithFile(text);
    const taken = await add("slack");
    expect([taken.code, taken.err]).toEqual([
      2,
      expect.stringMatching(/services\.json:2:17 services\.slack: this service exists already; change it there\n$/),
    ]);
    const invalid = await add("No", "--recipe", "stripe");
    expect([invalid.code, invalid.err]).toEqual([
      2,
      expect.stringMatching(/^The service is not valid:\n {2}key: found "No"/),
    ]);
    expect(readFileSync(path, "utf8")).toBe(text);
  }, 20_000);

  test("A recipe, a value or an option that does not fit is explained", () => {
    const cases: readonly (readonly [key: string, options: RecipeOptions, said: RegExp])[] = [
      ["strpe", {}, /there is no recipe "strpe"\. Did you mean "stripe"\?\nbyteproxy services recipes lists all/],
      ["x", { recipe: "trelo" }, /there is no recipe "trelo"\. Did you mean "trello"\?/],
      ["shopify", {}, /^shopify: it needs the host of the shop: --set host=my-shop\.myshopify\.com$/],
      [
        "shopify",
        { set: ["host=https://x/"] },
        /^shopify: host is not valid, allowed: the host of the shop, like --set/,
      ],
      ["shopify", { set: ["host=x/../y"] }, /^shopify: host is not valid/],
      ["shopify", { set: ["host=a", "hots=x"] }, /^shopify: unknown value "hots" for --set, allowed: host$/],
      ["stripe", { set: ["host=x"] }, /^stripe: unknown value "host" for --set, there is none to set$/],
      ["stripe", { set: ["host"] }, /^--set is not valid\. Allowed: name=value/],
      ["y", { baseUrl: "https://y.example/", set: ["host=x"] }, /^--set is for the values of a recipe/],
      ["y", { recipe: "stripe", config: "{}" }, /^--recipe cannot be used with --config or --file/],
      ["stripe", { queryParam: "q" }, /^Options for the place of the secret, .* need --auth/],
      ["stripe", { username: "me" }, /^Options for the place of the secret, .* need --auth/],
      ["trello", { tokenFile: "t" }, /^The recipe trello has several secrets: change them in the services file/],
    ];
    for (const [key, options, said] of cases) {
      let failure: unknown;
      try {
        chooseRecipe(key, options);
      } catch (error) {
        failure = error;
      }
      expect(failure, String(said)).toMatchObject({ exitCode: 2, message: expect.stringMatching(said) });
    }
  });
});

describe("with a running gateway", () => {
  async function startManaged(env: Record<string, string> = {}) {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...env } });
    const own = { PORT: String(gateway.port), MANAGEMENT_API_KEY: MANAGEMENT_KEY };
    return (...words: string[]) => runCommand(own, ["services", "add", ...words]);
  }

  test("A recipe whose secret is bound is served at once, also under another key", async () => {
    const add = await startManaged({
      REST_SECRETS: "SLACK_BOT_TOKEN@https://slack.com",
      SLACK_BOT_TOKEN: "xoxb-1-2-3",
    });
    const [own, other] = await Promise.all([add("slack"), add("team", "--recipe", "slack", "--json")]);
    expect(own.out).toMatch(
      /^slack is served from now on: \/proxy\/slack\/ leads to https:\/\/slack\.com\/api\/ \(credential present: SLACK_BOT_TOKEN\)\nSet SLACK_BOT_TOKEN/,
    );
    expect(JSON.parse(other.out)).toMatchObject({ key: "team", source: "runtime", credential: { state: "present" } });
  }, 20_000);

  test("A recipe whose secret is not bound is refused, with the command that adds it to the services file", async () => {
    const add = await startManaged({ SLACK_BOT_TOKEN: "xoxb-1-2-3" });
    const [plain, json] = await Promise.all([add("team", "--recipe", "slack"), add("slack", "--json")]);
    expect(plain).toMatchObject({ code: 1, out: "" });
    expect(plain.err).toMatch(
      /^SLACK_BOT_TOKEN may not be used .*SLACK_BOT_TOKEN@https:\/\/slack\.com.*\nThe services file may .*: byteproxy services add team --recipe slack --offline\n$/,
    );
    expect([json.code, JSON.parse(json.out).code]).toEqual([1, "EGRESS_NOT_ALLOWED"]);
  }, 20_000);

  test("A built-in service is reported with what it needs, and not changed", async () => {
    const add = await startManaged();
    const run = await add("openai");
    expect([run.code, run.out]).toEqual([
      0,
      expect.stringMatching(/^openai is built in: .* \(credential missing: OPENAI_API_KEY\)\nSet OPENAI_API_KEY/),
    ]);
  });
});

test("All recipes are listed with what they need, as a table and as JSON", async () => {
  const [table, json] = await Promise.all([
    runCommand({}, ["services", "recipes"]),
    runCommand({}, ["services", "recipes", "--json"]),
  ]);
  expect(table.out).toMatch(/^RECIPE +API +NEEDS\n/);
  expect(table.out).toMatch(/^shopify +Shopify Admin +--set host=… SHOPIFY_ACCESS_TOKEN$/m);
  const { recipes, count } = JSON.parse(json.out);
  expect([recipes.length, count > 42]).toEqual([count, true]);
  expect(recipes.find(({ name }: { name: string }) => name === "stripe")).toMatchObject({
    baseUrl: "https://api.stripe.com/",
    documentation: expect.stringMatching(/^https:/),
    variables: { STRIPE_SECRET_KEY: expect.any(String) },
  });
});
