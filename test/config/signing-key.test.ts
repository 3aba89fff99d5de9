/** Private keys that sign assertions: which texts are read, for which algorithms, and what masks search for. */
import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readSigningKey, type SigningAlgorithm, secretsOfKey } from "../../src/config/signing-key.ts";
import { createSecretMask } from "../../src/telemetry/redact.ts";
import { ecPair, type KeyPair, pkcs1Of, pkcs8Of, rsaPair, serviceAccountOf } from "../support/keys.ts";
import { KEY, load, OTHER_KEY, problemsOf, services } from "./temp-folder.ts";

const rsa = rsaPair();
const ec = ecPair();
const ed = generateKeyPairSync("ed25519");
const jwk = (pair: { privateKey: typeof rsa.privateKey }, more: object = {}) =>
  JSON.stringify({ ...pair.privateKey.export({ format: "jwk" }), ...more });
const account = serviceAccountOf(rsa, "https://oauth2.googleapis.com/token");

const edPair = (): KeyPair => generateKeyPairSync("ed25519");

/** A JSON Web Key that could be assembled by mistake. */
function withOtherPublicPart({ privateKey }: KeyPair): string {
  const type = privateKey.asymmetricKeyType;
  const other = type === "rsa" ? rsaPair() : type === "ec" ? ecPair() : edPair();
  return JSON.stringify({ ...privateKey.export({ format: "jwk" }), ...other.publicKey.export({ format: "jwk" }) });
}

describe("A private key", () => {
  test.each<[string, string, object]>([
    ["PEM (PKCS #1)", pkcs1Of(rsa), { algorithm: "RS256", kid: undefined }],
    ["PEM (PKCS #8)", pkcs8Of(rsa), { algorithm: "RS256" }],
    ["PEM (SEC 1)", ec.privateKey.export({ type: "sec1", format: "pem" }) as string, { algorithm: "ES256" }],
    ["PEM with other line breaks", pkcs8Of(rsa).replaceAll("\n", "\r\n"), { algorithm: "RS256" }],
    ["PEM in one line", pkcs1Of(rsa).replaceAll("\n", "\\n"), { algorithm: "RS256" }],
    ["PEM in one line and in quotes", `"${pkcs1Of(rsa).replaceAll("\n", "\\n")}"`, { algorithm: "RS256" }],
    ["a JSON Web Key", jwk(ec, { kid: "k1" }), { algorithm: "ES256", kid: "k1" }],
    ["a JSON Web Key with its algorithm", jwk(rsa, { alg: "PS384" }), { algorithm: "PS384" }],
    ["a JSON Web Key on another curve", jwk(ecPair("P-521")), { algorithm: "ES512" }],
    ["a JSON Web Key of Ed25519", jwk(ed), { algorithm: "EdDSA" }],
    [
      "the key file of a service account",
      account,
      {
        algorithm: "RS256",
        kid: "the-key-of-the-account",
        account: {
          email: "robot@the-project.iam.gserviceaccount.com",
          tokenUrl: "https://oauth2.googleapis.com/token",
        },
      },
    ],
  ])("It is read as %s", (_, text, expected) => {
    expect(readSigningKey(text, undefined)).toMatchObject(expected);
  });

  const encrypted = rsa.privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-128-cbc", passphrase: "x" });
  test.each<[string, string, SigningAlgorithm | undefined, string]>([
    ["has a passphrase", encrypted as string, undefined, "a private key without a passphrase"],
    ["is public", ec.publicKey.export({ type: "spki", format: "pem" }) as string, undefined, "a private key: PEM"],
    [
      "is a public JSON Web Key",
      JSON.stringify(ec.publicKey.export({ format: "jwk" })),
      undefined,
      "a private key: PEM",
    ],
    [
      "has a passphrase in the key file of an account",
      JSON.stringify({ private_key: encrypted, client_email: "a@example.com" }),
      undefined,
      "a private key without a passphrase",
    ],
    ...[ec, rsa, edPair()].map((own): [string, string, undefined, string] => [
      `has the public part of another ${own.privateKey.asymmetricKeyType} key`,
      withOtherPublicPart(own),
      undefined,
      "a private key: PEM",
    ]),
    ["is symmetric", '{"kty":"oct","k":"c2VjcmV0"}', undefined, "a private key: PEM"],
    ["is no key", "hunter2", undefined, "a private key: PEM"],
    ["is cut", pkcs8Of(rsa).slice(0, 900), undefined, "a private key: PEM"],
    ["is JSON that is cut", account.slice(0, 900), undefined, "a private key: PEM"],
    ["is short", pkcs8Of(rsaPair(1_024)), undefined, "an RSA key of at least 2048 bits"],
    ["is for another curve", jwk(ecPair("secp256k1")), undefined, "a key on P-256, P-384 or P-521"],
    ["is for another algorithm", pkcs8Of(ec), "RS256", "a key for the algorithm RS256; this one is for ES256"],
    ["is for another algorithm, too", pkcs8Of(rsa), "EdDSA", "this one is for RS256, RS384, RS512, PS256"],
  ])("One that %s is refused, without a part of it", (_, text, algorithm, allowed) => {
    const read = readSigningKey(text, algorithm);
    expect(read).toEqual({ allowed: expect.stringContaining(allowed) });
  });

  test.each([
    ["PEM", pkcs1Of(rsa), pkcs1Of(rsa).split("\n").slice(1, -2)],
    [
      "PEM with spaces at the ends of lines",
      pkcs8Of(rsa).replaceAll("\n", " \t\r\n"),
      pkcs8Of(rsa).split("\n").slice(1, -2),
    ],
    ["a JSON Web Key", jwk(ec), [ec.privateKey.export({ format: "jwk" }).d as string]],
    ["the key file of a service account", account, pkcs8Of(rsa).split("\n").slice(1, -2)],
  ])("A mask finds each line and each secret member of %s", (_, text, parts) => {
    const mask = createSecretMask(secretsOfKey(text));
    for (const part of parts) expect(mask(`before ${part} after`)).toBe("before *** after");
    for (const whole of [text, JSON.stringify(text), text.replaceAll("\n", "")]) {
      for (const part of parts) expect(mask(whole)).not.toContain(part.slice(0, 30));
    }
  });
});

describe("A key file", () => {
  const grant = { type: "oauth2", grant: "jwt_bearer", keyFile: "key.pem", issuer: "i", tokenUrl: "https://x/token" };
  const withAuth = (auth: object) => services({ x: { baseUrl: "https://api.example.com/", auth } });

  test.each<[string, object, string, string]>([
    ["no key", grant, "hunter2", "a private key: PEM"],
    ["a key for another algorithm", { ...grant, algorithm: "ES256" }, pkcs8Of(rsa), "this one is for RS256"],
    ["no token_uri", { ...grant, tokenUrl: undefined, issuer: undefined }, pkcs8Of(rsa), "a key file with token_uri"],
    [
      "no token_uri, where the issuer has no metadata",
      { ...grant, tokenUrl: undefined },
      pkcs8Of(rsa),
      "an issuer in auth that is an https:// URL",
    ],
    [
      "no client_email",
      { ...grant, issuer: undefined },
      pkcs8Of(rsa),
      "a key file with client_email, or issuer in auth",
    ],
    [
      "another token_uri",
      { ...grant, tokenUrl: undefined },
      serviceAccountOf(rsa, "ftp://x/"),
      "a key file whose token_uri is an http:// or https:// URL",
    ],
    [
      "a key for another app",
      { type: "github-app", appId: 1, owner: "o", privateKeyFile: "key.pem" },
      pkcs8Of(ec),
      "RS256",
    ],
  ])(
    "One with %s stops the start, and the problem names the file and no part of it",
    async (_, auth, text, allowed) => {
      const lines = await problemsOf({ ...withAuth(auth), "key.pem": text });
      expect(lines).toEqual([
        expect.stringMatching(/services\.x\.auth\.(keyFile|privateKeyFile): found an unusable key/),
      ]);
      expect(lines[0]).toContain(allowed);
      expect(lines[0]).not.toMatch(/hunter2|BEGIN|MII/);
    },
  );

  test("One that is missing is a missing secret, with a warning", async () => {
    const { services: all, warnings } = await load(withAuth(grant));
    expect(all.get("x")?.credential?.secrets).toMatchObject([{ name: "key", secret: undefined }]);
    expect(warnings).toEqual([expect.stringContaining("x has no credential, because its file key.pem cannot be used")]);
  });

  test("A token endpoint of a key file that is reached in clear text is a warning", async () => {
    const files = { ...withAuth({ type: "oauth2", grant: "jwt_bearer", keyFile: "key.json" }) };
    const warningsFor = async (tokenUrl: string) =>
      (await load({ ...files, "key.json": serviceAccountOf(rsa, tokenUrl) })).warnings;
    expect(await warningsFor("http://login.example/token")).toEqual([expect.stringContaining("in clear text")]);
    expect(await warningsFor("https://login.example/token")).toEqual([]);
  });

  test("A gateway key cannot be the private key of a service", async () => {
    const files = withAuth({ type: "github-app", appId: 1, owner: "o", privateKeyEnvVar: "PROXY_API_KEY" });
    expect(await problemsOf(files, { PROXY_API_KEY: KEY, MANAGEMENT_API_KEY: OTHER_KEY })).toEqual([
      expect.stringContaining("found the gateway's own PROXY_API_KEY"),
    ]);
  });

  test("The built-in service github can have an app instead of a token", async () => {
    const auth = { type: "github-app", appId: "Iv23liABC", owner: "acme", privateKeyEnvVar: "APP_KEY" };
    const { services: all } = await load(services({ github: { auth } }), { APP_KEY: pkcs1Of(rsa) });
    expect(all.get("github")).toMatchObject({ baseUrl: "https://api.github.com/", auth, vendor: "github" });
    expect(all.get("github")?.credential?.secrets).toMatchObject([
      { name: "privateKey", source: "APP_KEY", isKey: true },
    ]);
  });
});
