import { describe, expect, test } from "vitest";
import { PRESETS } from "../../src/config/presets.ts";
import { serviceSchema } from "../../src/config/schema.ts";
import { KEY, load, OTHER_KEY, problemsOf, services } from "./temp-folder.ts";

const off = { HOST: "0.0.0.0", PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };

describe("built-in services", () => {
  test.each(Object.entries(PRESETS))(
    "Each built-in service matches the schema of the services file: %s",
    (_, preset) => {
      expect(serviceSchema.safeParse(preset).success).toBe(true);
    },
  );

  test("The built-in services exist without a services file, each with its own variable", async () => {
    const { services: all, warnings } = await load({ ".env": "GITHUB_TOKEN=gh-token" });
    expect([...all.keys()]).toEqual(["echo", "discord", "github", "openai", "anthropic"]);
    expect(all.get("github")?.credential?.secrets[0]?.secret?.reveal()).toBe("gh-token");
    expect(all.get("github")).toMatchObject({ source: "preset", auth: { required: false } });
    expect(all.get("openai")?.credential).toEqual({
      source: "OPENAI_API_KEY",
      secrets: [{ name: "token", source: "OPENAI_API_KEY", secret: undefined }],
    });
    expect(warnings).toEqual([]);
  });

  test("An entry without baseUrl changes single members of a built-in service", async () => {
    const { services: all } = await load(services({ github: { timeoutMs: 5, headers: { Accept: "x/y" } } }));
    expect(all.get("github")).toMatchObject({
      source: "file",
      baseUrl: "https://api.github.com/",
      timeoutMs: 5,
      headers: { Accept: "x/y" },
      auth: { tokenEnvVar: "GITHUB_TOKEN" },
    });
  });

  test("A header that an entry sets replaces a default header of the preset", async () => {
    const { services: all } = await load(services({ github: { setHeaders: { "user-agent": "mine" } } }));
    expect(Object.keys(all.get("github")?.headers ?? {})).toEqual(["Accept", "X-GitHub-Api-Version"]);
  });

  test("An entry with its own baseUrl takes nothing from the preset, and not its credential", async () => {
    const { services: all } = await load(services({ github: { baseUrl: "https://elsewhere.example/" } }), {
      GITHUB_TOKEN: "t",
    });
    expect(all.get("github")).not.toHaveProperty("auth");
    expect(all.get("github")).toMatchObject({ source: "file", credential: undefined, headers: {} });
  });

  test("The credential of a built-in service cannot be sent to another address", async () => {
    const versionedBaseUrls = { v3: "https://elsewhere.example/" };
    expect(await problemsOf(services({ github: { versionedBaseUrls } }))).toEqual([
      expect.stringContaining(
        "services.github.versionedBaseUrls.v3: found another address for the preset's credential",
      ),
    ]);
    const auth = { type: "bearer", tokenEnvVar: "MINE" };
    expect(await problemsOf(services({ github: { versionedBaseUrls, auth } }))).toEqual([]);
    expect(await problemsOf(services({ github: { versionedBaseUrls: { v3: "https://api.github.com/v3/" } } }))).toEqual(
      [],
    );
  });
});

test("The LLM presets wait as long as their vendors' SDKs, whatever NETWORK_TIMEOUT is", async () => {
  const { services: all } = await load({}, { NETWORK_TIMEOUT: "1000" });
  expect(["openai", "anthropic", "github"].map((key) => all.get(key)?.timeoutMs)).toEqual([600_000, 600_000, 1_000]);
});

describe("echo", () => {
  test.each([
    ["on loopback", {}, true],
    ["off loopback", off, false],
    ["off loopback where it is asked for", { ...off, ECHO_SERVICE: "true" }, true],
    ["where it is switched off", { ECHO_SERVICE: "false" }, false],
  ])("The echo service exists or not: %s", async (_, env: Record<string, string>, isThere) => {
    const service = (await load({}, env)).services.get("echo");
    expect(service !== undefined).toBe(isThere);
    if (isThere) expect(service?.embedded).toBe(true);
  });

  test("The echo service stays embedded when an entry changes it, and is an ordinary service with its own baseUrl", async () => {
    expect((await load(services({ echo: { timeoutMs: 5 } }))).services.get("echo")).toMatchObject({
      embedded: true,
      timeoutMs: 5,
    });
    const entry = { baseUrl: "http://127.0.0.1:9/" };
    const config = await load(services({ echo: entry }), { ECHO_SERVICE: "false" });
    expect(config.services.get("echo")).toMatchObject({ embedded: false, source: "file" });
    expect([...config.services.values()].filter(({ embedded }) => embedded)).toEqual([]);
  });

  test.each([{ ECHO_SERVICE: "false" }, off])(
    "The echo service cannot be changed while it is off: %o",
    async (env: Record<string, string>) => {
      expect(await problemsOf(services({ echo: { timeoutMs: 5 } }), env)).toEqual([
        expect.stringContaining("services.echo: found changes to the embedded service echo, which is off"),
      ]);
    },
  );
});
