import { describe, expect, it } from "vitest";
import { PRESETS } from "../../src/config/presets.ts";
import { serviceSchema } from "../../src/config/schema.ts";
import { KEY, load, OTHER_KEY, problemsOf, services } from "./temp-folder.ts";

const off = { HOST: "0.0.0.0", PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };

describe("the built-in services", () => {
  it.each(Object.entries(PRESETS))("pass the schema of the services file: %s", (_, preset) => {
    expect(serviceSchema.safeParse(preset).success).toBe(true);
  });

  it("are there without a file, each from its own variable", async () => {
    const { services: all, warnings } = await load({ ".env": "GITHUB_TOKEN=gh-token" });
    expect([...all.keys()]).toEqual(["echo", "discord", "github", "openai", "anthropic"]);
    expect(all.get("github")?.credential?.secret?.reveal()).toBe("gh-token");
    expect(all.get("github")).toMatchObject({ source: "preset", auth: { required: false } });
    expect(all.get("openai")?.credential).toEqual({ source: "OPENAI_API_KEY", secret: undefined });
    expect(warnings).toEqual([]);
  });

  it("are changed by an entry without baseUrl, member by member", async () => {
    const { services: all } = await load(services({ github: { timeoutMs: 5, headers: { Accept: "x/y" } } }));
    expect(all.get("github")).toMatchObject({
      source: "file",
      baseUrl: "https://api.github.com/",
      timeoutMs: 5,
      headers: { Accept: "x/y" },
      auth: { tokenEnvVar: "GITHUB_TOKEN" },
    });
  });

  it("give way with a default header that an entry forces", async () => {
    const { services: all } = await load(services({ github: { setHeaders: { "user-agent": "mine" } } }));
    expect(Object.keys(all.get("github")?.headers ?? {})).toEqual(["Accept", "X-GitHub-Api-Version"]);
  });

  it("give nothing to an entry with a baseUrl of its own, least of all the credential", async () => {
    const { services: all } = await load(services({ github: { baseUrl: "https://elsewhere.example/" } }), {
      GITHUB_TOKEN: "t",
    });
    expect(all.get("github")).not.toHaveProperty("auth");
    expect(all.get("github")).toMatchObject({ source: "file", credential: undefined, headers: {} });
  });

  it("refuse another address under their own credential", async () => {
    const versionedBaseUrls = { v3: "https://elsewhere.example/" };
    expect(await problemsOf(services({ github: { versionedBaseUrls } }))).toEqual([
      expect.stringContaining(
        "services.github.versionedBaseUrls.v3: found another address beside the preset's credential",
      ),
    ]);
    const auth = { type: "bearer", tokenEnvVar: "MINE" };
    expect(await problemsOf(services({ github: { versionedBaseUrls, auth } }))).toEqual([]);
    expect(await problemsOf(services({ github: { versionedBaseUrls: { v3: "https://api.github.com/v3/" } } }))).toEqual(
      [],
    );
  });
});

describe("echo", () => {
  it.each([
    ["on loopback", {}, true],
    ["off loopback", off, false],
    ["off loopback where it is asked for", { ...off, ECHO_SERVICE: "true" }, true],
    ["where it is switched off", { ECHO_SERVICE: "false" }, false],
  ])("is there or not: %s", async (_, env: Record<string, string>, isThere) => {
    const service = (await load({}, env)).services.get("echo");
    expect(service !== undefined).toBe(isThere);
    if (isThere) expect(service?.embedded).toBe(true);
  });

  it("stays embedded when an entry changes it, and is a plain service with a baseUrl of its own", async () => {
    expect((await load(services({ echo: { timeoutMs: 5 } }))).services.get("echo")).toMatchObject({
      embedded: true,
      timeoutMs: 5,
    });
    const entry = { baseUrl: "http://127.0.0.1:9/" };
    const config = await load(services({ echo: entry }), { ECHO_SERVICE: "false" });
    expect(config.services.get("echo")).toMatchObject({ embedded: false, source: "file" });
    expect([...config.services.values()].filter(({ embedded }) => embedded)).toEqual([]);
  });

  it.each([{ ECHO_SERVICE: "false" }, off])(
    "cannot be changed while it is off: %o",
    async (env: Record<string, string>) => {
      expect(await problemsOf(services({ echo: { timeoutMs: 5 } }), env)).toEqual([
        expect.stringContaining("services.echo: found changes to the embedded service echo, which is off"),
      ]);
    },
  );
});
