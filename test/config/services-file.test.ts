import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { load, problemsOf, SERVICES, services, tempFolder } from "./temp-folder.ts";

const own = { baseUrl: "https://api.example.com/" };
const loginClient = {
  type: "oauth2",
  grant: "refresh_token",
  tokenUrl: "https://login.example.com/token",
  authorizationUrl: "https://login.example.com/authorize",
  refreshToken: "login",
  clientId: "gateway",
  clientAuth: "none",
};
const client = {
  type: "oauth2",
  grant: "client_credentials",
  tokenUrl: "https://login.example.com/token",
  clientId: "i",
  clientSecretEnvVar: "S",
};

const assertion = { type: "oauth2", grant: "jwt_bearer", tokenUrl: client.tokenUrl, keyFile: "k" };
const app = { type: "github-app", appId: 1, privateKeyFile: "k", installationId: 2 };

/** The problems of one service `x`, without their position. */
const problemsOfService = async (entry: unknown) =>
  (await problemsOf(services({ x: entry }))).map((line) =>
    line.replace(/^config\/services\.json:\d+:\d+ services\./, ""),
  );

describe("services file", () => {
  test("The services file is read as JSON and as YAML", async () => {
    const json = (await load(services({ x: { ...own, retries: 7 } }))).services.get("x");
    const yaml = await load({ [SERVICES]: "services:\n  x:\n    baseUrl: https://api.example.com/\n    retries: 7\n" });
    expect(yaml.services.get("x")).toEqual(json);
    expect(json).toMatchObject({ key: "x", name: "x", source: "file", retries: 7, embedded: false });
  });

  test("The services file may have ten thousand services with many members", async () => {
    const one = (index: number) => ({
      name: `Service ${index}`,
      baseUrl: `https://api${index}.example.com/v1/`,
      methods: ["GET", "POST"],
      headers: { Accept: "application/json" },
      rateLimit: { maxRequests: 60, windowMs: 60_000, per: "caller" },
      auth: { type: "bearer", tokenEnvVar: `TOKEN_${index}`, required: false },
    });
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`s${index}`, one(index)]));
    expect(services(many)[SERVICES]?.length).toBeGreaterThan(2_000_000);
    expect((await load(services(many))).services.get("s9999")).toMatchObject({ name: "Service 9999", source: "file" });
  });

  test("The services file may be indented with tabs, begin with a byte order mark, or be empty", async () => {
    expect(
      await problemsOf({
        [SERVICES]: '\uFEFF{\n\t"services": {\n\t\t"x": {\n\t\t\t"baseUrl": "http://a/"\n\t\t}\n\t}\n}',
      }),
    ).toEqual([]);
    expect(await problemsOf({ [SERVICES]: "# nothing yet\n" })).toEqual([]);
  });

  test("A problem has the line and column of the value, or of the name if the name is wrong", async () => {
    const text = '{\n  "services": {\n    "github": {\n      "timoutMs": 3,\n      "timeoutMs": "abc"\n    }\n  }\n}';
    expect(await problemsOf({ [SERVICES]: text })).toEqual([
      'config/services.json:5:20 services.github.timeoutMs: found "abc", allowed: an integer from 1 to 2147483647',
      'config/services.json:4:7 services.github.timoutMs: unknown key "timoutMs"; did you mean "timeoutMs"?',
    ]);
  });

  test("The problems of all services and all variables are reported at once", async () => {
    const lines = await problemsOf(services({ a: { baseUrl: 1 }, b: { ...own, retries: 11 } }), { PORT: "x" });
    expect(lines).toHaveLength(3);
  });

  test.each([
    [
      "a brace that is not closed",
      '{ "services": { "a": ',
      /^config\/services\.json:1:\d+: found no value where one must be/,
    ],
    ["a quote that is not closed", 'services:\n  a: "x', /^config\/services\.json:2:\d+: found a syntax error/],
    [
      "a key that stands twice",
      '{"services": {\n "a": {},\n "a": {}}}',
      /^config\/services\.json:3:2: found the same key twice/,
    ],
    ["an alias to nothing", "services: *x", /found text that is nested too deeply or refers to itself/],
    [
      "an object as a key",
      "services:\n  ? {a: b}\n  : {}",
      /^config\/services\.json:2:5: found a list or an object as a key/,
    ],
    ["several documents", "services: {}\n---\nservices: {}", /^config\/services\.json:2:\d+: found a syntax error/],
    [
      "aliases that multiply",
      `a: &a [x,x]\nb: &b [${"*a,".repeat(99)}]\nc: [${"*b,".repeat(99)}]`,
      /nested too deeply or refers/,
    ],
    ["__proto__", '{"services": {\n "__proto__": {}}}', /^config\/services\.json:2:2: unknown key "__proto__"/],
    ["nothing but text", "hello", /^config\/services\.json:1:1 : found "hello", allowed: an object/],
    ["a list", "[]", /: found a list, allowed: an object/],
    [
      "a misspelt top",
      '{"servces": {}}',
      /^config\/services\.json:1:2 servces: unknown key "servces"; did you mean "services"\?/,
    ],
    [
      "binary",
      new Uint8Array([0xff, 0xfe, 0x41, 0x00]),
      /^config\/services\.json: cannot be read: it is not UTF-8 text/,
    ],
    [
      "more than 16 MiB",
      " ".repeat(16 * 1024 * 1024 + 1),
      /^config\/services\.json: cannot be read: it is larger than 16 MiB/,
    ],
    ["nested without end", "[".repeat(100_000), /^config\/services\.json:/],
  ])("A services file with %s is refused", async (_, text, expected) => {
    const lines = await problemsOf({ [SERVICES]: text });
    expect(lines.length).toBeGreaterThan(0);
    expect(lines[0]).toMatch(expected);
  });

  test("A directory instead of the services file is refused", async () => {
    const directory = tempFolder();
    mkdirSync(join(directory, SERVICES), { recursive: true });
    await expect(loadConfig({ processEnv: {}, directory })).rejects.toThrow(
      "config/services.json: cannot be read: it is a directory",
    );
  });

  test("A file beside the services file that is not read, because its extension differs, is a warning", async () => {
    const { warnings } = await load({ "config/services.json": "{}", "config/services.yaml": "services: {}" });
    expect(warnings).toContain(
      "config/services.yaml is not read, because config/services.json is the services file; set CONFIG_FILE=config/services.yaml to use it",
    );
    expect((await load({ "config/services.yml": "services: {}" })).warnings.join()).toContain(
      "config/services.yml is not read",
    );
    expect((await load({ "config/services.json": "{}" })).warnings.join()).not.toContain("is not read");
  });

  test("The services file may be absent unless a variable names it", async () => {
    expect((await load()).configFile.state).toBe("absent");
    expect(await problemsOf({ ".env": "CONFIG_FILE=my/services.yaml" })).toEqual([
      'CONFIG_FILE (.env): found "my/services.yaml": cannot be read: there is no such file, allowed: a JSON or YAML file',
    ]);
    const config = await load({ "my/services.yaml": "services: {}" }, { CONFIG_FILE: "my/services.yaml" });
    expect(config.configFile).toEqual({ path: config.settings.CONFIG_FILE, state: "read" });
    expect(config.configFile.path).toMatch(/\/my\/services\.yaml$/);
  });
});

describe("entries", () => {
  test.each([
    [null, "x: found null, allowed: an object"],
    ["https://a/", 'x: found "https://a/", allowed: an object'],
    [{}, "x.baseUrl: missing, allowed: an http:// or https:// URL"],
    [{ baseUrl: "ftp://a/" }, 'x.baseUrl: found "ftp://a/", allowed: an http:// or https:// URL'],
    [{ baseUrl: 5 }, "x.baseUrl: found 5, allowed: an http:// or https:// URL"],
    [
      { baseUrl: "https://a/?b=secret" },
      'x.baseUrl: found "https://a/?b=***", allowed: a URL without query and fragment',
    ],
    [
      { baseUrl: "https://a/b/../c" },
      'x.baseUrl: found "https://a/b/../c", allowed: a path in its normal form: no dot segments, no \\, and special characters percent-encoded',
    ],
    [{ ...own, retries: 1.5 }, "x.retries: found 1.5, allowed: an integer from 0 to 10"],
    [{ ...own, timeoutMs: 0 }, "x.timeoutMs: found 0, allowed: an integer from 1 to 2147483647"],
    [{ ...own, maxBodyBytes: -1 }, "x.maxBodyBytes: found -1, allowed: an integer from 0"],
    [{ ...own, cookies: "yes" }, 'x.cookies: found "yes", allowed: true or false'],
    [{ ...own, name: "" }, 'x.name: found "", allowed: a string that is not empty'],
    [
      { ...own, methods: [] },
      "x.methods: found a list, allowed: at least one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    ],
    [{ ...own, methods: ["get"] }, 'x.methods[0]: found "get", allowed: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    [{ ...own, pathPolicy: "loose" }, 'x.pathPolicy: found "loose", allowed: strict, raw'],
    [
      { ...own, headers: { Host: "a" } },
      'x.headers.Host: found "Host", allowed: a header that the gateway does not write itself',
    ],
    [{ ...own, headers: { A: 5 } }, "x.headers.A: found a number, allowed: a string"],
    [
      { ...own, removeHeaders: ["a b"] },
      'x.removeHeaders[0]: found "a b", allowed: a header name of letters, digits and - (RFC 9110 section 5.1)',
    ],
    [
      { ...own, rateLimit: { maxRequests: 1, windowMs: 2_147_483_648 } },
      "x.rateLimit.windowMs: found 2147483648, allowed: an integer from 1000 to 2147483647",
    ],
    [
      { ...own, rateLimit: { maxRequests: 1, windowMs: 1_000, maxWaitMs: 5 } },
      "x.rateLimit.maxWaitMs: found 5, allowed: maxWaitMs only with onLimit wait",
    ],
    [
      { ...own, pathHints: [{ match: "(", message: "m" }] },
      'x.pathHints[0].match: found "(", allowed: a regular expression without look-around and back references (RE2)',
    ],
    [
      { ...own, versionedBaseUrls: { "a/b": "https://a/" } },
      'x.versionedBaseUrls["a/b"]: found "a/b", allowed: a path segment of letters, digits, `.`, `_` and `-`',
    ],
    [
      { ...own, auth: { type: "bearer" } },
      "x.auth: found an object with type, allowed: exactly one of tokenEnvVar, tokenFile and tokenCommand",
    ],
    [
      { ...own, auth: { type: "token", tokenEnvVar: "T" } },
      'x.auth.type: found "token", allowed: bearer, bot, basic, api-key, custom, oauth2, github-app, aws-sigv4, pool',
    ],
    [{ ...own, zzzzzzzzzzz: 1, tls: { cafile: "x" } }, 'x.tls.cafile: unknown key "cafile"; did you mean "caFile"?'],
  ])("The entry %o is refused with what was found and what is allowed", async (entry, line) => {
    expect(await problemsOfService(entry)).toContain(line);
  });

  test.each([
    [{ ...client, tokenUrl: "https://u:p@x/" }, "allowed: an http:// or https:// URL without user info and fragment"],
    [{ ...client, clientSecretFile: "f" }, "allowed: exactly one of clientSecretEnvVar and clientSecretFile"],
    [{ ...client, clientIdEnvVar: "I" }, "allowed: exactly one of clientId and clientIdEnvVar"],
    [{ ...client, tokenUrl: undefined }, "allowed: tokenUrl or issuer for type oauth2"],
    [{ ...client, issuer: "https://x/" }, "allowed: one of tokenUrl and issuer"],
    [{ ...client, tokenUrl: undefined, issuer: "http://x.example/" }, "or http:// on this machine"],
    [{ ...client, tokenUrl: undefined, issuer: "https://x.example/?a" }, "without user info, query and fragment"],
    [{ ...client, refreshToken: "login" }, "refreshToken only for grant refresh_token"],
    [{ ...client, authorizationUrl: "https://x/" }, 'deviceAuthorizationUrl only with refreshToken "login"'],
    [{ ...loginClient, authorizationUrl: undefined }, "authorizationUrl or deviceAuthorizationUrl with refreshToken"],
    [{ ...loginClient, refreshTokenFile: "f" }, "exactly one of refreshTokenEnvVar, refreshTokenFile and refreshToken"],
    [{ ...loginClient, refreshToken: "the-token-itself" }, "found a string, allowed: login"],
    [{ ...client, scope: "a  b" }, "allowed: scopes with one space between them (RFC 6749 section 3.3)"],
    [
      { ...client, tokenUrl: "https://a.example/t?x=1&client_secret=s" },
      "allowed: a URL without the client's parameters",
    ],
    [{ ...client, params: { client_secret: "x" } }, "allowed: a parameter that no other member of auth sets"],
    [{ ...client, tokenEnvVar: "T" }, "and tokenCommandTtlSeconds only for type bearer, bot, basic, api-key"],
    [{ type: "bearer", tokenEnvVar: "T", scope: "a" }, "allowed: scope only for type oauth2"],
    [{ ...client, subject: "s" }, "allowed: subject only for grant jwt_bearer"],
    [{ ...client, grant: "jwt_bearer" }, "allowed: keyFile for grant jwt_bearer"],
    [{ ...assertion, tokenUrl: undefined, clientAuth: "basic" }, "allowed: exactly one of clientId and clientIdEnvVar"],
    [{ ...assertion, algorithm: "HS256" }, "allowed: RS256, RS384, RS512"],
    [{ ...client, clientAuth: "private_key_jwt" }, "allowed: keyFile for clientAuth private_key_jwt"],
    [
      { ...client, clientAuth: "private_key_jwt", keyFile: "k" },
      "allowed: neither clientSecretEnvVar nor clientSecretFile for clientAuth private_key_jwt",
    ],
    [{ ...client, appId: 1 }, "allowed: appId only for type github-app"],
    [{ ...app, owner: "o" }, "allowed: exactly one of installationId and owner"],
    [{ ...app, appId: undefined }, "allowed: appId for type github-app"],
    [{ ...app, privateKeyEnvVar: "K" }, "allowed: exactly one of privateKeyFile and privateKeyEnvVar"],
    [{ ...app, permissions: {} }, "allowed: at least one permission"],
    [{ ...app, permissions: { contents: "all" } }, "allowed: read, write, admin"],
    [{ ...app, repositories: ["o/r"] }, "allowed: the name of a repository, without its owner"],
    [{ ...app, tokenUrl: "https://x/" }, "allowed: tokenUrl only for type oauth2"],
    [{ ...client, clientid: "x" }, 'x.auth.clientid: unknown key "clientid"; did you mean "clientId"?'],
  ])("The auth %o is refused with what is allowed", async (auth, text) => {
    expect((await problemsOfService({ ...own, auth })).join("\n")).toContain(text);
  });

  test("An unknown key that resembles no known key lists all known keys", async () => {
    const [line] = await problemsOfService({ ...own, tls: { zzzzzzzzz: 1 } });
    expect(line).toBe(
      'x.tls.zzzzzzzzz: unknown key "zzzzzzzzz", allowed: strict, caFile, certFile, keyFile, servername',
    );
  });

  test.each(["Bad", "a/b", "-a", "a".repeat(65), "services", "auth-test", "manage", "constructor", "prototype", ""])(
    "A service cannot have the key %o",
    async (key) => {
      expect(await problemsOf(services({ [key]: own }))).toEqual([
        expect.stringMatching(/^config\/services\.json:1:\d+ .*allowed: a key/),
      ]);
    },
  );

  test.each([
    [
      { ...own, egressProxy: "http://u:hunter2@p/" },
      'x.egressProxy: found "http://***@p/", allowed: an http:// or https:// URL with a host and no path, without user info (it belongs in EGRESS_PROXY_AUTH)',
    ],
    [
      { ...own, egressProxy: "socks5://p" },
      'x.egressProxy: found "socks5://p", allowed: an http:// or https:// URL with a host and no path',
    ],
  ])("The entry %o is refused in one line", async (entry, line) => {
    expect(await problemsOfService(entry)).toEqual([line]);
  });

  test("A service has a breaker unless it is false, and each problem of a breaker has its own position", async () => {
    const defaults = { failureRatio: 0.5, minRequests: 20, windowMs: 10_000, openMs: 10_000 };
    const breakerOf = async (entry: object) =>
      (await load(services({ x: { ...own, ...entry } }))).services.get("x")?.breaker;
    expect(await breakerOf({})).toEqual(defaults);
    expect(await breakerOf({ breaker: { failureRatio: 1, openMs: 500 } })).toEqual({
      ...defaults,
      failureRatio: 1,
      openMs: 500,
    });
    expect(await breakerOf({ breaker: false })).toBe(false);
    const problems = (breaker: unknown) => problemsOfService({ ...own, breaker });
    expect(await problems(true)).toEqual(["x.breaker: found true, allowed: false or an object"]);
    expect(await problems([])).toEqual(["x.breaker: found a list, allowed: false or an object"]);
    expect(await problems({ failureRatio: 0 })).toEqual([
      "x.breaker.failureRatio: found 0, allowed: a number above 0, up to 1",
    ]);
    expect(await problems({ failureRatio: "a", minRequests: 0, openms: 1 })).toEqual([
      'x.breaker.failureRatio: found "a", allowed: a number above 0, up to 1',
      "x.breaker.minRequests: found 0, allowed: an integer from 1 to 1000000",
      'x.breaker.openms: unknown key "openms"; did you mean "openMs"?',
    ]);
  });

  test("The default quota mode is hold for discord and github, by key or by host, and observe for other services", async () => {
    const { services: all } = await load(
      services({
        x: own,
        y: { ...own, quota: { mode: "hold", maxWaitMs: 5, maxQueue: 0 } },
        mine: { baseUrl: "https://api.github.com/" },
        bot: { baseUrl: "https://discord.com/api/v9/", quota: { mode: "off" } },
        github: own,
      }),
    );
    const defaults = { maxWaitMs: 10_000, maxQueue: 1_000 };
    expect(all.get("x")).toMatchObject({ quota: { mode: "observe", ...defaults }, vendor: undefined });
    expect(all.get("y")?.quota).toEqual({ mode: "hold", maxWaitMs: 5, maxQueue: 0 });
    expect(all.get("mine")).toMatchObject({ quota: { mode: "hold", ...defaults }, vendor: "github" });
    expect(all.get("bot")).toMatchObject({ quota: { mode: "off" }, vendor: "discord" });
    expect(all.get("github")).toMatchObject({ quota: { mode: "hold" }, vendor: "github" });
    expect(all.get("discord")?.quota).toEqual({ mode: "hold", ...defaults });
  });

  test("A service without time limits or retries uses those of the settings", async () => {
    const env = { NETWORK_TIMEOUT: "111", NETWORK_CONNECT_TIMEOUT: "22", NETWORK_RETRIES: "3" };
    const { services: all } = await load(
      services({ x: own, y: { ...own, timeoutMs: 9, connectTimeoutMs: 8, retries: 0 } }),
      env,
    );
    expect(all.get("x")).toMatchObject({ timeoutMs: 111, connectTimeoutMs: 22, retries: 3 });
    expect(all.get("y")).toMatchObject({ timeoutMs: 9, connectTimeoutMs: 8, retries: 0 });
  });

  test("The services and the whole configuration are frozen", async () => {
    const config = await load(services({ x: { ...own, headers: { A: "b" } } }));
    const service = config.services.get("x");
    expect(() => Object.assign(service?.headers ?? {}, { A: "c" })).toThrow(TypeError);
    expect(() => Object.assign(config.settings, { PORT: 1 })).toThrow(TypeError);
    expect(() => (config.services as Map<string, unknown>).set("y", {})).toThrow(TypeError);
    expect(() => (config.services as Map<string, unknown>).clear()).toThrow(TypeError);
  });
});

describe("duplicate headers", () => {
  const bearer = { type: "bearer", tokenEnvVar: "T" };
  test.each([
    [{ headers: { Accept: "a", accept: "b" } }],
    [{ headers: { Accept: "a" }, setHeaders: { ACCEPT: "b" } }],
    [{ setHeaders: { Authorization: "a" }, auth: bearer }],
    [{ headers: { authorization: "a" }, auth: bearer }],
    [{ setHeaders: { "x-key": "a" }, auth: { type: "api-key", headerName: "X-Key", tokenEnvVar: "T" } }],
  ])("Two headers of the same name in a service are a problem: %o", async (entry) => {
    const lines = await problemsOfService({ ...own, ...entry });
    expect(lines).toEqual([expect.stringMatching(/: found .* again, after .*, allowed: each header in one place$/)]);
  });

  test("A header is no duplicate when the credential is in the query", async () => {
    const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "T" };
    expect(await problemsOfService({ ...own, setHeaders: { Authorization: "a" }, auth })).toEqual([]);
  });
});
