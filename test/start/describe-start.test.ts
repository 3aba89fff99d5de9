/** The lines that a start logs: who can reach the gateway, and a bounded number of warnings. */
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import type { Service } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { logWarnings, shellKey, startLines, startScreen } from "../../src/start/describe-start.ts";
import { load } from "../config/temp-folder.ts";

const KEY = { MANAGEMENT_API_KEY: "a-management-key-0123456789", MANAGEMENT_PORT: "3421" };

const containerLine = async (env: Record<string, string>) => {
  const config = await load({}, env);
  const lines = startLines({ config, services: [], url: "http://127.0.0.1:3420", isInContainer: true });
  return lines.find((line) => line.includes("inside a container"));
};

test("A start on loopback inside a container says that outside clients cannot reach it, except a second listener elsewhere", async () => {
  expect(await containerLine({})).toContain("clients outside of it cannot reach the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "127.0.0.1" })).toContain("cannot reach the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "0.0.0.0" })).toContain("cannot reach /proxy;");
});

test("A service whose login has not taken place is shown with the command for it, and one with a login as ready", async () => {
  const auth = {
    type: "oauth2",
    grant: "refresh_token",
    refreshToken: "login",
    issuer: "https://login.example",
    clientId: "gateway",
    clientAuth: "none",
  };
  const services = { api: { baseUrl: "https://api.example/", auth } };
  const config = await load({ "config/services.json": JSON.stringify({ services }) });
  const api = config.services.get("api") as Service;
  const shown = (service: Service) =>
    startLines({ config, services: [service], url: "http://127.0.0.1:3420" }).join("\n");
  expect(shown(api)).toContain("api (off: byteproxy login api)");
  const secrets = [{ name: "refreshToken", source: "login", login: true as const, secret: new Secret("of-the-user") }];
  expect(shown({ ...api, credential: { source: "login", secrets } })).toContain("api (credential ready)");
});

describe("warnings", () => {
  const logged = (count: number) => {
    const lines: unknown[] = [];
    logWarnings(
      { warn: (line: unknown) => void lines.push(line) },
      Array.from({ length: count }, (_, i) => `warning ${i}`),
    );
    return lines;
  };

  test.each([0, 1, 100])("The log has each of %d warnings", (count) => {
    expect(logged(count)).toEqual(Array.from({ length: count }, (_, i) => `warning ${i}`));
  });

  test("The log has the first hundred of many warnings, and the number of the others", () => {
    const lines = logged(50_000);
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toBe("49900 more warnings: the check config of GET /manage/diagnostics lists all warnings");
    expect(logged(101).at(-1)).toMatch(/^1 more warning: /);
  });
});

describe("commands to try", () => {
  const shown = async (files: Record<string, string>, env: Record<string, string> = {}) =>
    shellKey(await load(files, env));
  const KEY_LINE = "PROXY_API_KEY=a-proxy-key-0123456789\n";

  test("A command reads the key from the env file that the gateway read it from", async () => {
    expect(await shown({ ".env": KEY_LINE })).toMatch(/^\$\(sed -n 's\/\^PROXY_API_KEY=\/\/p' '\/.*\/\.env'\)$/);
    expect(await shown({ ".env": KEY_LINE, ".env.local": KEY_LINE })).toContain("/.env.local'");
  });

  test("The key of the environment is a variable of the shell, and that of a file is read from it", async () => {
    expect(await shown({ ".env": KEY_LINE }, { PROXY_API_KEY: "another-key-0123456789" })).toBe("$PROXY_API_KEY");
    const file = { "key.txt": "a-proxy-key-0123456789" };
    expect(await shown(file, { PROXY_API_KEY_FILE: "key.txt" })).toBe('$(cat "$PROXY_API_KEY_FILE")');
    expect(await shown({})).toBe("$KEY");
  });

  test("The shell gets the key from the printed command", async () => {
    const config = await load({ ".env": KEY_LINE });
    const output = execFileSync("sh", ["-c", `printf %s "${shellKey(config)}"`], { encoding: "utf8" });
    expect(output).toBe("a-proxy-key-0123456789");
  });
});

describe("the screen of a start on a terminal", () => {
  test("The screen has fewer than 15 lines for any number of services, and no key and no secret", async () => {
    const env = {
      PROXY_API_KEY: "a-proxy-key-0123456789",
      GITHUB_TOKEN: "a-secret-of-an-upstream",
      MANAGEMENT_PORT: "3421",
    };
    const config = await load({}, { ...env, MANAGEMENT_API_KEY: "a-management-key-0123456789" });
    const services = [...config.services.values()];
    const many = Array.from({ length: 400 }, (_, i) => ({ ...(services[0] as (typeof services)[0]), key: `s${i}` }));
    for (const each of [services, many, []]) {
      const start = { config, services: each, url: "http://127.0.0.1:3420", managementUrl: "http://127.0.0.1:3421" };
      const lines = startScreen({ ...start, isInContainer: true }, (_, text) => text);
      expect(lines.length).toBeLessThan(15);
      const text = lines.join("\n");
      for (const secret of Object.values(env).slice(0, 2)) expect(text).not.toContain(secret);
      expect(text.match(/curl /g)).toHaveLength(3);
      expect(text).toContain("http://localhost:3420");
    }
  });

  test("The screen shows services in use before built-in ones without a credential", async () => {
    const own = { "config/services.json": JSON.stringify({ services: { mine: { baseUrl: "http://127.0.0.1:1/" } } }) };
    const config = await load(own, { GITHUB_TOKEN: "a-secret-of-an-upstream" });
    const start = { config, services: [...config.services.values()], url: "http://127.0.0.1:3420" };
    const text = startScreen(start, (_, shown) => shown).join("\n");
    for (const key of ["echo", "github", "mine"]) expect(text).toMatch(new RegExp(`^ {2}${key} `, "m"));
    expect(text).toContain("and 2 more services");
  });
});

test("A start shows the egress proxy of each service, without its credential", async () => {
  const definition = {
    services: { api: { baseUrl: "https://api.example" }, own: { baseUrl: "https://own.example", egressProxy: false } },
  };
  const config = await load(
    { "config/services.json": JSON.stringify(definition) },
    { EGRESS_PROXY: "http://user:hunter2@proxy.example:3128" },
  );
  const services = [...config.services.values()].filter(({ source }) => source === "file");
  const start = { config, services, url: "http://127.0.0.1:3420" };
  const text = [...startLines(start), ...startScreen(start, (_, each) => each)].join("\n");
  expect(text).toContain("Egress proxy: http://proxy.example:3128");
  expect(text).toContain("own (needs no credential, without the egress proxy)");
  expect(text).toMatch(/https:\/\/api\.example +through http:\/\/proxy\.example:3128/);
  expect(text).not.toMatch(/own\.example +through/);
  expect(text).not.toContain("hunter2");
});

test("A start shows where rate limits are shared, without the password", async () => {
  const config = await load({}, { REDIS_URL: "rediss://user:hunter2@[::1]:7000/3" });
  const lines = startLines({ config, services: [], url: "http://127.0.0.1:3420" });
  expect(lines).toContain("Shared rate limits: Redis at [::1]:7000 (TLS)");
  expect(lines.join("\n")).not.toContain("hunter2");
});
