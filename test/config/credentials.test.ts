import { linkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { KEY, load, OTHER_KEY, problemsOf, services, tempFolder } from "./temp-folder.ts";

const withAuth = (auth: unknown, more = {}) => services({ x: { baseUrl: "https://api.example.com/", auth, ...more } });
const fromVariable = withAuth({ type: "bearer", tokenEnvVar: "TOKEN" });
const fromFile = withAuth({ type: "bearer", tokenFile: "secrets/token" });

describe("a credential", () => {
  it("comes from a variable, of an env file too", async () => {
    const config = await load({ ...fromVariable, ".env.local": "TOKEN=abc" });
    expect(config.services.get("x")?.credential?.source).toBe("TOKEN");
    expect(config.services.get("x")?.credential?.secret?.reveal()).toBe("abc");
    expect(JSON.stringify(config)).not.toContain("abc");
  });

  it("comes from a file, with the line breaks at its end cut", async () => {
    const credential = (await load({ ...fromFile, "secrets/token": "abc\r\n\n" })).services.get("x")?.credential;
    expect(credential?.source).toBe("file:secrets/token");
    expect(credential?.secret?.reveal()).toBe("abc");
  });

  it.each([
    ["absent", {}, "there is no such file"],
    ["empty", { "secrets/token": "\n" }, "it is empty"],
    ["a directory", { "secrets/token/x": "" }, "it is a directory"],
  ])("is missing, with a warning, when its file is %s", async (_, files, reason) => {
    const { services: all, warnings } = await load({ ...fromFile, ...files });
    expect(all.get("x")?.credential).toMatchObject({ source: "file:secrets/token", secret: undefined });
    expect(warnings).toEqual([
      expect.stringMatching(new RegExp(`services\\.x\\.auth\\.tokenFile: x has no credential.*${reason}`)),
    ]);
  });

  it("is missing when its variable is unset or empty", async () => {
    expect((await load(fromVariable, { TOKEN: "  " })).services.get("x")?.credential?.secret).toBeUndefined();
  });

  it.each([
    ["bearer", "hunter2\nhunter2", "one line without control characters"],
    ["bearer", "hunter2\u0000", "one line without control characters"],
    ["bearer", "hunter2☃", "characters that a header can carry"],
    ["basic", "hunter2", "user:password"],
  ])("of type %s cannot be %o; the variable is named and the text is not", async (type, text, words) => {
    const lines = await problemsOf(withAuth({ type, tokenEnvVar: "TOKEN" }), { TOKEN: text });
    expect(lines).toEqual([
      expect.stringContaining("TOKEN (environment), the credential of x: found an unusable secret"),
    ]);
    expect(lines[0]).toContain(words);
    expect(lines[0]).not.toContain("hunter2☃");
    expect(lines[0]).not.toContain("hunter2");
  });
});

describe("the gateway's own keys", () => {
  it.each(["PROXY_API_KEY", "MANAGEMENT_API_KEY", "PROXY_API_KEY_FILE", "MANAGEMENT_API_KEY_FILE"])(
    "cannot be named as a credential: %s",
    async (name) => {
      expect(await problemsOf(withAuth({ type: "bearer", tokenEnvVar: name }))).toEqual([
        expect.stringContaining(`services.x.auth.tokenEnvVar: found the gateway's own ${name}`),
      ]);
    },
  );

  it.each(["keys/proxy", "./keys/../keys/proxy", "link"])(
    "cannot have their file named as a credential: %s",
    async (tokenFile) => {
      const directory = tempFolder({ ...withAuth({ type: "bearer", tokenFile }), "keys/proxy": KEY });
      symlinkSync(join(directory, "keys/proxy"), join(directory, "link"));
      await expect(loadConfig({ processEnv: { PROXY_API_KEY_FILE: "keys/proxy" }, directory })).rejects.toThrow(
        "services.x.auth.tokenFile: found the file of a key of the gateway's own",
      );
    },
  );

  it("cannot be a credential under another name", async () => {
    const env = { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY };
    for (const TOKEN of Object.values(env)) {
      expect(await problemsOf(fromVariable, { ...env, TOKEN })).toEqual([
        expect.stringContaining("another secret than the gateway's own keys"),
      ]);
    }
    const directory = tempFolder({ ...fromFile, "secrets/other": KEY });
    linkSync(join(directory, "secrets/other"), join(directory, "secrets/token"));
    await expect(loadConfig({ processEnv: env, directory })).rejects.toThrow(
      "another secret than the gateway's own keys",
    );
  });
});

describe("a credential over http://", () => {
  const auth = { type: "bearer", tokenEnvVar: "TOKEN" };
  const warningsFor = async (entry: object) => (await load(services({ x: entry }))).warnings;

  it.each(["http://api.example.com/", "http://203.0.113.9/", "http://[2001:db8::1]/"])(
    "is warned of: %s",
    async (baseUrl) => {
      expect(await warningsFor({ baseUrl, auth })).toEqual([
        expect.stringContaining("services.x.baseUrl: the credential of x goes to"),
      ]);
      expect(await warningsFor({ baseUrl })).toEqual([]);
      expect(
        await warningsFor({ baseUrl: "https://a.example/", versionedBaseUrls: { v1: baseUrl }, auth }),
      ).toHaveLength(1);
    },
  );

  it.each([
    "http://localhost:9/",
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://10.1.2.3/",
    "http://[fd00::1]/",
    "http://billing/",
    "http://billing.prod.svc.cluster.local/",
    "https://api.example.com/",
  ])("is not warned of inside a private network, nor over TLS: %s", async (baseUrl) => {
    expect(await warningsFor({ baseUrl, auth })).toEqual([]);
  });
});

describe("TLS files", () => {
  const withTls = (tls: unknown) => services({ x: { baseUrl: "https://api.example.com/", tls } });
  const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

  it("are given to the service as absolute paths", async () => {
    const directory = tempFolder({ ...withTls({ caFile: "ca.pem" }), "ca.pem": CERTIFICATE });
    const tls = (await loadConfig({ processEnv: {}, directory })).services.get("x")?.tls;
    expect(tls).toEqual({ caFile: join(directory, "ca.pem") });
  });

  it.each([
    [{ caFile: "no.pem" }, "services.x.tls.caFile: cannot be read: there is no such file"],
    [{ caFile: "text.pem" }, "services.x.tls.caFile: found no certificate in the file"],
    [{ certFile: "ca.pem" }, "services.x.tls: found one of certFile and keyFile, allowed: both or neither"],
    [{ certFile: "ca.pem", keyFile: "text.pem" }, "services.x.tls.certFile: found files that are no pair"],
  ])("%o stop the start", async (tls, words) => {
    const directory = tempFolder(withTls(tls));
    writeFileSync(join(directory, "ca.pem"), CERTIFICATE);
    writeFileSync(join(directory, "text.pem"), "text");
    await expect(loadConfig({ processEnv: {}, directory })).rejects.toThrow(words);
  });

  it("may be left unverified by a service, with a warning", async () => {
    expect((await load(withTls({ strict: false }))).warnings).toEqual([
      expect.stringContaining("services.x.tls.strict: the certificate of x is not verified"),
    ]);
  });
});
