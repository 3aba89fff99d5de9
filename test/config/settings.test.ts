import { describe, expect, test } from "vitest";
import { NOT_YET } from "../../src/config/settings.ts";
import { KEY, load, OTHER_KEY, problemsOf } from "./temp-folder.ts";

describe("variables", () => {
  test("Every variable has a default", async () => {
    const { settings, isLoopback, proxyPlane, managementPlane, warnings, configFile, envFiles } = await load();
    expect(settings).toMatchObject({ PORT: 3420, HOST: "localhost", NETWORK_TIMEOUT: 30_000, STRICT_TLS: true });
    expect(isLoopback).toBe(true);
    expect([proxyPlane, managementPlane]).toEqual([
      { key: undefined, isProtected: false, isOpen: false },
      { key: undefined, isProtected: false, isOpen: false },
    ]);
    expect(warnings).toEqual([]);
    expect(configFile.state).toBe("absent");
    expect(envFiles.map(({ state }) => state)).toEqual(["absent", "absent"]);
  });

  test("All wrong variables are reported at once, each with its origin, what was found and what is allowed", async () => {
    const files = { ".env": "NETWORK_RETRIES=99", ".env.local": "PORT=abc" };
    expect(await problemsOf(files, { STRICT_TLS: "maybe", LOG_LEVEL: "loud" })).toEqual([
      'PORT (.env.local): found "abc", allowed: an integer from 0 to 65535',
      'NETWORK_RETRIES (.env): found "99", allowed: an integer from 0 to 10',
      'STRICT_TLS (environment): found "maybe", allowed: true or false',
      'LOG_LEVEL (environment): found "loud", allowed: trace, debug, info, warn, error, fatal, silent',
    ]);
  });

  test.each([
    ["a word", "1"],
    ["A@bad,B@https://ok.example", "1"],
    ["B@https://ok.example, A@https://a.example/path,A@https://*.example,A@ftp://x", "2, 3, 4"],
    ["A@https://u:p@a.example,A@https://a.example/?,A@https://a.example/#,A@https://a.example:99999", "1, 2, 3, 4"],
    ["MANAGEMENT_API_KEY@https://a.example", "1"],
    ["PROXY_API_KEY_FILE@https://a.example", "1"],
    ["file:@https://a.example", "1"],
    ["NAME=the-secret-itself-0123@https://a.example", "1"],
  ])(
    "REST_SECRETS cannot be %s, and the problem has the number of the entries but not their text",
    async (value, numbers) => {
      const [line, ...others] = await problemsOf({}, { REST_SECRETS: value });
      expect(others).toEqual([]);
      expect(line).toMatch(
        new RegExp(
          `^REST_SECRETS \\(environment\\): found a string of ${value.length} characters, allowed: .*number ${numbers} of the list$`,
        ),
      );
      expect(line).not.toContain("the-secret-itself");
    },
  );

  test.each([
    ["PORT", "0"],
    ["UPDATE_CHECK_URL", "https://registry.example/@scope/byteproxy/latest"],
    ["REST_SECRETS", "A@https://a.example,A@http://127.0.0.1:1, file:/run/x@y/token@https://b.example:8443"],
    ["REST_SECRETS", "A@https://a.example/,A@https://API.Example.com,A@https://a.example:443,A@http://a.example:80/"],
    ["PORT", "65535"],
    ["STRICT_TLS", "TRUE"],
    ["ECHO_SERVICE", "0"],
    ["LOG_LEVEL", "WARN"],
    ["LOGGING_LEVEL", "warn"],
    ["HOST", "::1"],
    ["HOST", "box.localhost"],
    ["PUBLIC_URL", "https://gw.example.com/base/"],
    ["CORS_ORIGINS", "https://a.example, http://localhost:3000"],
    ["CORS_ORIGINS", "null, chrome-extension://abcdef"],
    ["TRUST_PROXY", "loopback, 10.0.0.0/8, fd00::/8, 192.0.2.1"],
  ])("The variable %s may be %s", async (name, value) => {
    expect(await problemsOf({}, { [name]: value })).toEqual([]);
  });

  test.each([
    ["PORT", "-1"],
    ["PORT", "65536"],
    ["PORT", "3420.5"],
    ["PORT", "0x10"],
    ["HOST", "http://localhost"],
    ["HOST", "[::1]"],
    ["PUBLIC_URL", "gw.example.com"],
    ["PUBLIC_URL", "https://gw.example.com/?a=b"],
    ["CORS_ORIGINS", "https://a.example/"],
    ["CORS_ORIGINS", "https://user@a.example"],
    ["CORS_ORIGINS", "https://*.a.example"],
    ["CORS_ORIGINS", "http://localhost:*"],
    ["CORS_ORIGINS", "chrome-extension://*"],
    ["TRUST_PROXY", "10.0.0.0/33"],
    ["TRUST_PROXY", "0.0.0.0/0"],
    ["TRUST_PROXY", "abc"],
    ["NETWORK_TIMEOUT", "0"],
    ["NETWORK_TIMEOUT", "2147483648"],
    ["SHUTDOWN_DELAY", "1s"],
    ["CORS_METHODS", "GET, P U T"],
    ["CORS_HEADERS", "x-a:b"],
    ["CORS_MAX_AGE", "-1"],
  ])("The variable %s may not be %s", async (name, value) => {
    expect(await problemsOf({}, { [name]: value })).toEqual([
      expect.stringMatching(new RegExp(`^${name} \\(environment\\): found .*, allowed: `)),
    ]);
  });

  test("Of two names for one setting, the one with the later origin takes precedence", async () => {
    const env = { ".env": "LOG_LEVEL=warn", ".env.local": "LOGGING_LEVEL=debug" };
    expect((await load(env)).settings.LOG_LEVEL).toBe("debug");
    expect((await load(env, { LOG_LEVEL: "error" })).settings.LOG_LEVEL).toBe("error");
    expect((await load({ ".env": "LOG_LEVEL=warn\nLOGGING_LEVEL=debug" })).settings.LOG_LEVEL).toBe("warn");
  });

  test("A second listener without a port, or with the same address as the first, is refused", async () => {
    expect(await problemsOf({}, { MANAGEMENT_HOST: "127.0.0.1" })).toEqual([
      "MANAGEMENT_HOST (environment): found without MANAGEMENT_PORT, allowed: both or none",
    ]);
    expect(await problemsOf({}, { MANAGEMENT_PORT: "3420" })).toEqual([
      "MANAGEMENT_PORT (environment): found the same as PORT, allowed: another port",
    ]);
    expect(await problemsOf({}, { MANAGEMENT_PORT: "3421" })).toEqual([]);
  });

  test("The protection of each listener depends on its own address", async () => {
    const key = "0123456789abcdef0123";
    expect(
      await problemsOf({}, { HOST: "0.0.0.0", PROXY_API_KEY: key, MANAGEMENT_PORT: "1", MANAGEMENT_HOST: "::1" }),
    ).toEqual([]);
    expect(await problemsOf({}, { PROXY_API_KEY: key, MANAGEMENT_PORT: "1", MANAGEMENT_HOST: "0.0.0.0" })).toEqual([
      expect.stringMatching(
        /^MANAGEMENT_HOST \(environment\): found "0\.0\.0\.0" with \/manage\/\* unprotected, .* set MANAGEMENT_API_KEY/,
      ),
    ]);
    expect(await problemsOf({}, { HOST: "0.0.0.0", PROXY_API_KEY: key, MANAGEMENT_PORT: "1" })).toEqual([
      expect.stringMatching(/^HOST \(environment\): found "0\.0\.0\.0" with \/manage\/\* unprotected/),
    ]);
  });

  test("CORS with credentials for every origin is refused, because browsers reject it", async () => {
    expect(await problemsOf({}, { CORS_CREDENTIALS: "true", CORS_ORIGINS: "https://a.example,*" })).toEqual([
      'CORS_CREDENTIALS (environment): found "true" together with * in CORS_ORIGINS, allowed: true with each origin listed by name',
    ]);
    expect(await problemsOf({}, { CORS_CREDENTIALS: "true", CORS_ORIGINS: "https://a.example" })).toEqual([]);
  });

  test("There is a warning when certificates are not verified", async () => {
    expect((await load({}, { STRICT_TLS: "false" })).warnings).toEqual([
      "STRICT_TLS is false: certificates of upstreams are not verified",
    ]);
  });

  test.each(Object.keys(NOT_YET))(
    "The variable %s of a later version is refused, and its value is not shown",
    async (name) => {
      const [line, ...others] = await problemsOf({}, { [name]: "redis://user:hunter2@db" });
      expect(others).toEqual([]);
      expect(line).toContain(`${name} (environment): not yet supported`);
      expect(line).not.toContain("hunter2");
    },
  );

  test.each(Object.entries(NOT_YET).flatMap(([name, neutral]) => neutral.map((value) => [name, value] as const)))(
    "The variable %s of a later version may be %s, which has no effect",
    async (name, value) => {
      expect(await problemsOf({}, { [name]: value })).toEqual([]);
    },
  );

  test("The user info of a URL is never shown", async () => {
    const [line] = await problemsOf({}, { PUBLIC_URL: "https://user:hunter2@example.com/?token=hunter2" });
    expect(line).toContain('found "https://***@example.com/?token=***"');
  });
});

describe("keys", () => {
  test("A key protects only its own plane", async () => {
    const { proxyPlane, managementPlane } = await load({}, { PROXY_API_KEY: KEY });
    expect(proxyPlane.key?.reveal()).toBe(KEY);
    expect(proxyPlane.isProtected).toBe(true);
    expect(managementPlane).toMatchObject({ key: undefined, isProtected: false });
  });

  test("A key may come from a file, without the line break at its end", async () => {
    const { managementPlane } = await load({ "key.txt": `${KEY}\r\n` }, { MANAGEMENT_API_KEY_FILE: "key.txt" });
    expect(managementPlane.key?.reveal()).toBe(KEY);
    expect(managementPlane.isProtected).toBe(true);
  });

  test.each([
    ["the file is missing", {}, { PROXY_API_KEY_FILE: "no.txt" }, 'cannot read "no.txt": there is no such file'],
    [
      "the file is empty",
      { "k.txt": "\n" },
      { PROXY_API_KEY_FILE: "k.txt" },
      "found a string of 0 characters, allowed: at least",
    ],
    ["both forms are set", { "k.txt": KEY }, { PROXY_API_KEY_FILE: "k.txt", PROXY_API_KEY: KEY }, "only one of them"],
    ["it is short", {}, { PROXY_API_KEY: "shortkey" }, "found a string of 8 characters, allowed: at least 16"],
    [
      "it has a space",
      {},
      { PROXY_API_KEY: "a key with many spaces" },
      "found a string of 22 characters, allowed: at least 16",
    ],
    [
      "both planes share it",
      {},
      { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: KEY },
      "found the same key as PROXY_API_KEY",
    ],
  ])("A key prevents the start when %s, and is not shown", async (_, files, env: Record<string, string>, words) => {
    const lines = await problemsOf(files, env);
    expect(lines).toEqual([expect.stringContaining(words)]);
    expect(lines.join()).not.toMatch(/inbound|shortkey|many/);
  });

  test("Keys are masked when the configuration is printed", async () => {
    const config = await load({}, { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY });
    expect(JSON.stringify(config)).not.toContain("inbound");
    expect(config.settings.PROXY_API_KEY?.toString()).toBe("***");
  });
});

describe("protection of a plane", () => {
  test("A plane that requires a key cannot start without one", async () => {
    expect(await problemsOf({}, { REQUIRE_AUTH_FOR_PROXY: "true", REQUIRE_AUTH_FOR_MANAGEMENT: "true" })).toEqual([
      'REQUIRE_AUTH_FOR_PROXY (environment): found "true" without a key, allowed: true with PROXY_API_KEY set (or an issued key, or JWT_ISSUER)',
      'REQUIRE_AUTH_FOR_MANAGEMENT (environment): found "true" without a key, allowed: true with MANAGEMENT_API_KEY set',
    ]);
  });

  test("A plane with a key may be opened, with a warning", async () => {
    const { proxyPlane, warnings } = await load({}, { PROXY_API_KEY: KEY, REQUIRE_AUTH_FOR_PROXY: "false" });
    expect(proxyPlane.key?.reveal()).toBe(KEY);
    expect(proxyPlane.isProtected).toBe(false);
    expect(warnings).toEqual(["REQUIRE_AUTH_FOR_PROXY is false: /proxy/* is open although PROXY_API_KEY is set"]);
  });

  const both = { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };
  test.each([
    [{}, "set PROXY_API_KEY and MANAGEMENT_API_KEY"],
    [{ PROXY_API_KEY: KEY }, "set MANAGEMENT_API_KEY"],
    [{ MANAGEMENT_API_KEY: KEY }, "set PROXY_API_KEY"],
    [{ ...both, REQUIRE_AUTH_FOR_PROXY: "false" }, "set REQUIRE_AUTH_FOR_PROXY=true"],
  ])("An address that is not loopback requires protection: %o", async (env: Record<string, string>, fix) => {
    for (const HOST of ["0.0.0.0", "::", "192.168.1.5", "gateway.example.com", "127.0.0.1.example.com"]) {
      expect(await problemsOf({}, { ...env, HOST })).toEqual([
        expect.stringMatching(new RegExp(`^HOST \\(environment\\): found "${HOST}" with .* unprotected, .*${fix}`)),
      ]);
    }
  });

  test("A key for each plane is enough protection on an address that is not loopback", async () => {
    const config = await load({}, { ...both, HOST: "0.0.0.0" });
    expect(config.isLoopback).toBe(false);
    expect(config.warnings).toEqual([]);
  });

  test("ALLOW_UNAUTHENTICATED allows an unprotected plane on any address, with a warning", async () => {
    const { warnings } = await load({}, { HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true" });
    expect(warnings).toEqual([
      "ALLOW_UNAUTHENTICATED is true: /proxy/* and /manage/* are open to every client that reaches 0.0.0.0",
    ]);
  });

  test.each(["127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1", "localhost", "LOCALHOST", "app.localhost"])(
    "A loopback address requires no protection: %s",
    async (HOST) => {
      expect((await load({}, { HOST })).isLoopback).toBe(true);
    },
  );

  test("A refused key is reported once, and not again as missing protection", async () => {
    const env = { HOST: "0.0.0.0", MANAGEMENT_API_KEY: KEY, PROXY_API_KEY: "short", REQUIRE_AUTH_FOR_PROXY: "true" };
    expect(await problemsOf({}, env)).toEqual([
      expect.stringContaining("PROXY_API_KEY (environment): found a string of 5"),
    ]);
  });
});
