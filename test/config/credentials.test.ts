import { linkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { KEY, load, OTHER_KEY, problemsOf, services, tempFolder } from "./temp-folder.ts";

const withAuth = (auth: unknown, more = {}) => services({ x: { baseUrl: "https://api.example.com/", auth, ...more } });
const fromVariable = withAuth({ type: "bearer", tokenEnvVar: "TOKEN" });
const fromFile = withAuth({ type: "bearer", tokenFile: "secrets/token" });

describe("credentials", () => {
  test("A credential comes from a variable, also from an env file", async () => {
    const config = await load({ ...fromVariable, ".env.local": "TOKEN=abc" });
    expect(config.services.get("x")?.credential?.source).toBe("TOKEN");
    expect(config.services.get("x")?.credential?.secrets[0]?.secret?.reveal()).toBe("abc");
    expect(JSON.stringify(config)).not.toContain("abc");
  });

  test("A credential comes from a file, without the line breaks at its end", async () => {
    const credential = (await load({ ...fromFile, "secrets/token": "abc\r\n\n" })).services.get("x")?.credential;
    expect(credential?.source).toBe("file:secrets/token");
    expect(credential?.secrets[0]?.secret?.reveal()).toBe("abc");
  });

  test.each([
    ["absent", {}, "there is no such file"],
    ["empty", { "secrets/token": "\n" }, "it is empty"],
    ["a directory", { "secrets/token/x": "" }, "it is a directory"],
  ])("A credential is missing, with a warning, when its file is %s", async (_, files, reason) => {
    const { services: all, warnings } = await load({ ...fromFile, ...files });
    expect(all.get("x")?.credential).toMatchObject({ source: "file:secrets/token", secrets: [{ secret: undefined }] });
    expect(warnings).toEqual([
      expect.stringMatching(new RegExp(`services\\.x\\.auth\\.tokenFile: x has no credential.*${reason}`)),
    ]);
  });

  test("A credential is missing when its variable is unset or empty", async () => {
    expect(
      (await load(fromVariable, { TOKEN: "  " })).services.get("x")?.credential?.secrets[0]?.secret,
    ).toBeUndefined();
  });

  test.each([
    ["bearer", "hunter2\nhunter2", "one line without control characters"],
    ["bearer", "hunter2\u0000", "one line without control characters"],
    ["bearer", "hunter2☃", "characters that a header can carry"],
    ["basic", "hunter2", "user:password"],
  ])(
    "A credential of type %s cannot be %o, and the problem names the variable but not the text",
    async (type, text, words) => {
      const lines = await problemsOf(withAuth({ type, tokenEnvVar: "TOKEN" }), { TOKEN: text });
      expect(lines).toEqual([
        expect.stringContaining("TOKEN (environment), the credential of x: found an unusable secret"),
      ]);
      expect(lines[0]).toContain(words);
      expect(lines[0]).not.toContain("hunter2☃");
      expect(lines[0]).not.toContain("hunter2");
    },
  );
});

describe("gateway keys", () => {
  test.each(["PROXY_API_KEY", "MANAGEMENT_API_KEY", "PROXY_API_KEY_FILE", "MANAGEMENT_API_KEY_FILE"])(
    "The variable %s of the gateway cannot be a credential",
    async (name) => {
      expect(await problemsOf(withAuth({ type: "bearer", tokenEnvVar: name }))).toEqual([
        expect.stringContaining(`services.x.auth.tokenEnvVar: found the gateway's own ${name}`),
      ]);
    },
  );

  test.each(["keys/proxy", "./keys/../keys/proxy", "link"])(
    "The file of a gateway key cannot be a credential: %s",
    async (tokenFile) => {
      const directory = tempFolder({ ...withAuth({ type: "bearer", tokenFile }), "keys/proxy": KEY });
      symlinkSync(join(directory, "keys/proxy"), join(directory, "link"));
      await expect(loadConfig({ processEnv: { PROXY_API_KEY_FILE: "keys/proxy" }, directory })).rejects.toThrow(
        "services.x.auth.tokenFile: found the file of one of the gateway's own keys",
      );
    },
  );

  test("A key of the gateway cannot be a credential under another name", async () => {
    const env = { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };
    for (const TOKEN of Object.values(env)) {
      expect(await problemsOf(fromVariable, { ...env, TOKEN })).toEqual([
        expect.stringContaining("a secret that is not one of the gateway's own keys"),
      ]);
    }
    const directory = tempFolder({ ...fromFile, "secrets/other": KEY });
    linkSync(join(directory, "secrets/other"), join(directory, "secrets/token"));
    await expect(loadConfig({ processEnv: env, directory })).rejects.toThrow(
      "a secret that is not one of the gateway's own keys",
    );
  });
});

describe("clear text", () => {
  const auth = { type: "bearer", tokenEnvVar: "TOKEN" };
  const warningsFor = async (entry: object) => (await load(services({ x: entry }))).warnings;

  test.each(["http://api.example.com/", "http://203.0.113.9/", "http://[2001:db8::1]/"])(
    "A credential sent in clear text to a public host causes a warning: %s",
    async (baseUrl) => {
      expect(await warningsFor({ baseUrl, auth })).toEqual([
        expect.stringContaining("services.x.baseUrl: the credential of x is sent to"),
      ]);
      expect(await warningsFor({ baseUrl })).toEqual([]);
      expect(
        await warningsFor({ baseUrl: "https://a.example/", versionedBaseUrls: { v1: baseUrl }, auth }),
      ).toHaveLength(1);
    },
  );

  test.each([
    "http://localhost:9/",
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://10.1.2.3/",
    "http://[fd00::1]/",
    "http://billing/",
    "http://billing.prod.svc.cluster.local/",
    "https://api.example.com/",
  ])("There is no warning for a credential in a private network or over TLS: %s", async (baseUrl) => {
    expect(await warningsFor({ baseUrl, auth })).toEqual([]);
  });
});

describe("TLS files", () => {
  const withTls = (tls: unknown) => services({ x: { baseUrl: "https://api.example.com/", tls } });
  const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

  test("The TLS files of a service become absolute paths", async () => {
    const directory = tempFolder({ ...withTls({ caFile: "ca.pem" }), "ca.pem": CERTIFICATE });
    const tls = (await loadConfig({ processEnv: {}, directory })).services.get("x")?.tls;
    expect(tls).toEqual({ caFile: join(directory, "ca.pem") });
  });

  test.each([
    [{ caFile: "no.pem" }, "no.pem cannot be read: there is no such file"],
    [{ caFile: "text.pem" }, "services.x.tls.caFile: found no certificate in the file"],
    [{ certFile: "ca.pem" }, "services.x.tls: found one of certFile and keyFile, allowed: both or neither"],
    [
      { certFile: "ca.pem", keyFile: "text.pem" },
      "services.x.tls.certFile: found a certificate and a key that do not match",
    ],
  ])("A start is refused with the TLS files %o", async (tls, words) => {
    const directory = tempFolder(withTls(tls));
    writeFileSync(join(directory, "ca.pem"), CERTIFICATE);
    writeFileSync(join(directory, "text.pem"), "text");
    await expect(loadConfig({ processEnv: {}, directory })).rejects.toThrow(words);
  });

  test("A service may turn off certificate verification, with a warning", async () => {
    expect((await load(withTls({ strict: false }))).warnings).toEqual([
      expect.stringContaining("services.x.tls.strict: the certificate of x is not verified"),
    ]);
  });
});

describe("secrets with more than the secret", () => {
  test.each([
    ["bearer", "Bearer ghp_0123", "ghp_0123", ["scheme"]],
    ["bearer", "bearer  Bearer\tghp_0123", "ghp_0123", ["scheme"]],
    ["bearer", "token ghp_0123", "ghp_0123", ["scheme"]],
    ["bot", "Bot MTIz.abc.def", "MTIz.abc.def", ["scheme"]],
    ["bearer", '"ghp_0123"', '"ghp_0123"', ["quoted"]],
    ["bearer", "'ghp_0123'", "'ghp_0123'", ["quoted"]],
    ["bearer", 'Bearer "ghp_0123"', '"ghp_0123"', ["scheme", "quoted"]],
    ["bearer", '"Bearer ghp_0123"', '"Bearer ghp_0123"', ["quoted"]],
    ["basic", "Basic user:pass", "user:pass", ["scheme"]],
    ["basic", "user:Basic pass", "user:Basic pass", []],
    ["bearer", "bearer-token-0123", "bearer-token-0123", []],
    ["bearer", "tokenized", "tokenized", []],
    ["bearer", '"half', '"half', []],
  ] as const)(
    "The secret of type %s, written as %j, is sent as %j and has the faults %j",
    async (type, written, sent, faults) => {
      const { services: all, warnings } = await load({ ...withAuth({ type, tokenFile: "t" }), t: `${written}\n` });
      expect(all.get("x")?.credential?.secrets[0]?.secret?.reveal()).toBe(sent);
      expect(all.get("x")?.credential?.secrets[0]?.faults).toEqual(faults);
      expect(warnings.map((each) => /begins (with a scheme|and ends with quotes)/.exec(each)?.[1])).toEqual(
        faults.map((fault) => ({ scheme: "with a scheme", quoted: "and ends with quotes" })[fault]),
      );
      expect(warnings.join()).not.toMatch(/ghp_|MTIz|pass/);
    },
  );

  test("An api-key keeps a scheme, because the gateway adds none", async () => {
    const auth = { type: "api-key", headerName: "Authorization", tokenEnvVar: "TOKEN" };
    const { services: all, warnings } = await load(withAuth(auth), { TOKEN: "Bearer abc" });
    expect([all.get("x")?.credential?.secrets[0]?.secret?.reveal(), warnings]).toEqual(["Bearer abc", []]);
  });

  test("A scheme without a secret counts as a missing secret, with a warning", async () => {
    const { services: all, warnings } = await load(fromVariable, { TOKEN: "Bearer " });
    expect(all.get("x")?.credential?.secrets[0]?.secret).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining("begins with a scheme")]);
  });

  test("A key of the gateway behind a scheme cannot become a credential", async () => {
    const env = { TOKEN: `Bearer ${KEY}`, PROXY_API_KEY: KEY };
    expect(await problemsOf(fromVariable, env)).toEqual([expect.stringContaining("not one of the gateway's own keys")]);
  });

  test("A quoted key of the gateway is reported at start", async () => {
    const { warnings } = await load({}, { PROXY_API_KEY: `"${KEY}"` });
    expect(warnings).toEqual([expect.stringMatching(/^PROXY_API_KEY .*the key begins and ends with quotes/)]);
  });
});
