/** The settings for JSON Web Tokens are complete, or refused. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";

const SECRET = "a-shared-secret-of-the-issuer-0123456789";
const COMPLETE = { JWT_ISSUER: "https://issuer.example/", JWT_AUDIENCE: "a, b", JWT_SECRET: SECRET };
const KEY_SET = { JWT_ISSUER: "i", JWT_AUDIENCE: "a" };

function load(env: Record<string, string>, files: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-test-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text, { mode: 0o600 });
  return loadConfig({ directory, processEnv: env });
}

const problemsOf = (env: Record<string, string>): Promise<string> =>
  load(env).then(
    () => "none",
    (error: { problems?: readonly string[] }) => (error.problems ?? [String(error)]).join("\n"),
  );

test("Complete settings are read, and protect the proxy plane", async () => {
  const { tokens, proxyPlane } = await load({ ...COMPLETE, JWT_PERMISSIONS_CLAIM: "https://x/roles" });
  expect(tokens).toMatchObject({
    issuer: "https://issuer.example/",
    audiences: ["a", "b"],
    permissionsClaim: "https://x/roles",
  });
  expect(JSON.stringify(tokens)).not.toContain(SECRET);
  expect(proxyPlane).toMatchObject({ isProtected: true, isOpen: false, key: undefined });
  expect((await load({})).tokens).toBeUndefined();
});

test("The secret can be in a file, and other machines may reach a gateway that only tokens protect", async () => {
  const env = {
    ...KEY_SET,
    JWT_SECRET_FILE: "s.txt",
    HOST: "0.0.0.0",
    MANAGEMENT_API_KEY: "management-key-0123456789",
  };
  const { tokens } = await load(env, { "s.txt": `${SECRET}\n` });
  expect(tokens?.source.kind === "secret" && tokens.source.secret.reveal()).toBe(SECRET);
});

test.each<[string, Record<string, string>, string]>([
  ["no audience", { JWT_ISSUER: "i", JWT_SECRET: SECRET }, "JWT_ISSUER (environment): found without JWT_AUDIENCE"],
  ["no issuer", { JWT_AUDIENCE: "a", JWT_SECRET: SECRET }, "found without JWT_ISSUER, allowed: all of them or none"],
  ["neither keys nor secret", KEY_SET, "found without JWT_JWKS_URL or JWT_SECRET"],
  ["the claim alone", { JWT_PERMISSIONS_CLAIM: "x" }, "found without JWT_ISSUER and JWT_AUDIENCE and JWT_JWKS_URL or"],
  ["both keys and secret", { ...COMPLETE, JWT_JWKS_URL: "https://i/k" }, "JWT_SECRET (environment): found together"],
  ["a short secret", { ...COMPLETE, JWT_SECRET: "short" }, "found a string of 5 characters, allowed: at least 32"],
  [
    "a URL over plain HTTP",
    { ...KEY_SET, JWT_JWKS_URL: "http://issuer.example/k" },
    "found an http URL, allowed: https",
  ],
  ["a URL with a password", { ...KEY_SET, JWT_JWKS_URL: "https://u:p@issuer.example/k" }, "allowed: an https URL"],
  ["a URL of another kind", { ...KEY_SET, JWT_JWKS_URL: "file:///etc/passwd" }, "allowed: an https URL"],
  ["an empty list of audiences", { ...COMPLETE, JWT_AUDIENCE: " , " }, "allowed: comma-separated audiences"],
  ["the gateway's key as the secret", { ...COMPLETE, PROXY_API_KEY: SECRET }, "the same text as a key of the gateway"],
])("Settings with %s are refused", async (_, env, problem) => {
  expect(await problemsOf(env)).toContain(problem);
});

test("An http URL on a loopback address is accepted", async () => {
  for (const host of ["127.0.0.1:8080", "localhost", "[::1]:1"]) {
    expect(await problemsOf({ ...KEY_SET, JWT_JWKS_URL: `http://${host}/keys` })).toBe("none");
  }
});
