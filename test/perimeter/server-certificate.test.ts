/** What keeps a pair of certificate and key from being served, and when one is due. */
import { describe, expect, test } from "vitest";
import { describeCertificate, expiryOf, missingIssuerOf } from "../../src/perimeter/describe-certificate.ts";
import { readServerCertificate } from "../../src/perimeter/server-certificate.ts";
import { makeCertificate } from "../support/certificate.ts";
import { writeTlsFiles } from "../support/tls-gateway.ts";

const DAY_MS = 86_400_000;
const root = makeCertificate("Test Root", { isAuthority: true });
const intermediate = makeCertificate("Test Intermediate", { issuer: root, isAuthority: true });
const leaf = makeCertificate("gateway.test", { issuer: intermediate, dns: ["gateway.test"] });
const other = makeCertificate("other.test");
const encrypted = leaf.privateKey.export({
  type: "pkcs8",
  format: "pem",
  cipher: "aes-256-cbc",
  passphrase: "the passphrase",
}) as string;

function read(pair: { cert: string; key: string }, clientCa?: { cert: string }) {
  const { env } = writeTlsFiles(pair, clientCa as never);
  const { TLS_CERT_FILE = "", TLS_KEY_FILE = "", TLS_CLIENT_CA_FILE } = env;
  return readServerCertificate({ certFile: TLS_CERT_FILE, keyFile: TLS_KEY_FILE, clientCaFile: TLS_CLIENT_CA_FILE });
}

/** The sentence, without the folder of the test. */
function problemOf(...pair: Parameters<typeof read>): string {
  try {
    read(...pair);
    return "";
  } catch (error) {
    return (error as Error).message.replaceAll(/\/\S*\//g, "");
  }
}

describe("A pair that cannot be served is described with its cause and a fix", () => {
  const half = leaf.cert.slice(0, leaf.cert.length / 2);
  test.each([
    [
      "an expired certificate",
      makeCertificate("old", { fromDays: -3, days: -1 }),
      /^TLS_CERT_FILE cert.pem .* expired on .*; renew/,
    ],
    [
      "a key of another pair",
      { cert: leaf.cert, key: other.key },
      /^TLS_KEY_FILE key.pem .* not that of the certificate in TLS_CERT_FILE cert.pem; set both/,
    ],
    [
      "a half-written certificate",
      { cert: half, key: leaf.key },
      /^TLS_CERT_FILE .* incomplete or damaged; write the whole file/,
    ],
    ["a half-written chain", { cert: leaf.cert + half, key: leaf.key }, /^TLS_CERT_FILE .* incomplete or damaged/],
    [
      "a damaged certificate",
      { cert: leaf.cert.replace(/\nMII.{20}/, "\nMIIAAAAAAAAAAAAAAAAAAAA"), key: leaf.key },
      /^TLS_CERT_FILE .* damaged/,
    ],
    ["a half-written key", { cert: leaf.cert, key: leaf.key.slice(0, 80) }, /^TLS_KEY_FILE .* incomplete or damaged/],
    [
      "an encrypted key",
      { cert: leaf.cert, key: encrypted },
      /^TLS_KEY_FILE .* passphrase; write it without one \(openssl pkey/,
    ],
    ["empty files", { cert: "", key: "" }, /^TLS_CERT_FILE .* holds no PEM certificate/],
    [
      "the key as the certificate",
      { cert: leaf.key, key: leaf.key },
      /^TLS_CERT_FILE .* holds a private key and no certificate/,
    ],
    ["the certificate as the key", { cert: leaf.cert, key: leaf.cert }, /^TLS_KEY_FILE .* no PEM private key/],
    [
      "a chain in the wrong order",
      { cert: intermediate.cert + leaf.cert, key: leaf.key },
      /^TLS_CERT_FILE .* is number 2 in it; write it first/,
    ],
  ])("%s", (_, pair, sentence) => {
    const problem = problemOf(pair);
    expect(problem).toMatch(sentence);
    expect(problem.split("\n")).toHaveLength(1);
    expect(problem).not.toContain(leaf.key.split("\n")[1]);
  });

  test("An authority of client certificates must be a complete certificate", () => {
    expect(problemOf(leaf, { cert: half })).toMatch(
      /^TLS_CLIENT_CA_FILE clients.pem cannot be used: a certificate in it/,
    );
    expect(problemOf(leaf, { cert: "none" })).toMatch(/^TLS_CLIENT_CA_FILE .* holds no PEM certificate/);
  });

  test("A file that is absent, or a folder, is named with its variable", () => {
    const absent = { certFile: "/nowhere/cert.pem", keyFile: "/nowhere/key.pem", clientCaFile: undefined };
    expect(() => readServerCertificate(absent)).toThrow(
      "TLS_CERT_FILE /nowhere/cert.pem cannot be used: there is no such file; create it, or set TLS_CERT_FILE to another path.",
    );
    const folder = { ...absent, certFile: import.meta.dirname };
    expect(() => readServerCertificate(folder)).toThrow(/it is a directory/);
  });
});

describe("A certificate that can be served", () => {
  test("Its chain may have text between the certificates, and its key may be of the older EC form", () => {
    const key = leaf.privateKey.export({ type: "sec1", format: "pem" }) as string;
    const { chain } = read({ cert: `subject=gateway\n${leaf.cert}\nissuer\n${intermediate.cert}`, key });
    expect(chain).toHaveLength(2);
  });

  test("It is described without a secret", () => {
    const shown = describeCertificate(read(leaf));
    expect(shown).toMatchObject({
      subject: "CN=gateway.test",
      issuer: "CN=Test Intermediate",
      daysLeft: 89,
      certificates: 1,
    });
    expect(shown.names).toContain("DNS:gateway.test");
  });

  test("The issuer that clients are not sent is found, and a root or a self-signed certificate needs none", () => {
    expect(missingIssuerOf(read(leaf))).toBe("CN=Test Intermediate");
    expect(missingIssuerOf(read({ ...leaf, cert: leaf.cert + intermediate.cert }))).toBe("CN=Test Root");
    expect(missingIssuerOf(read({ ...leaf, cert: leaf.cert + root.cert + intermediate.cert }))).toBeUndefined();
    expect(missingIssuerOf(read(other))).toBeUndefined();
  });

  test.each([
    [90, 40, "later"],
    [90, 29, "expiring"],
    [90, 6, "urgent"],
    [90, -1, "expired"],
    [365, 31, "later"],
    [365, 8, "expiring"],
    // Renewed every few days.
    [6, 5, "later"],
    [6, 1, "expiring"],
    [6, 0.1, "urgent"],
  ])("One for %d days with %d days left is %s", (lifetime, left, expected) => {
    const certificate = read(makeCertificate("x", { fromDays: 0, days: lifetime }));
    expect(expiryOf(certificate, Date.now() + (lifetime - left) * DAY_MS)).toBe(expected);
  });
});
