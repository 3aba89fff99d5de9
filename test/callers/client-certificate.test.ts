/** What a key can be bound to, and which certificates have it. */
import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { assumedCertificate, isPeerCertificate, parseClientCert } from "../../src/callers/client-certificate.ts";
import { makeCertificate } from "../support/certificate.ts";

const HEX = "ab".repeat(32);
const COLONS = "AB:".repeat(32).slice(0, -1);

describe("The certificate of a key", () => {
  test.each([
    [HEX, HEX],
    [COLONS, HEX],
    [`sha256 Fingerprint=${COLONS}`, HEX],
    [`SHA256:${HEX}`, HEX],
    ["Client.Example.com", "client.example.com"],
    ["localhost", "localhost"],
    ["spiffe://example.org/ns/Default/sa/ci", "spiffe://example.org/ns/Default/sa/ci"],
    ["urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
  ])("%s is stored as %s", (text, clientCert) => {
    expect(parseClientCert(text)).toEqual({ clientCert });
  });

  test.each([
    "",
    "*",
    "*.example.com",
    "a b",
    "a..b",
    // SHA-1, and one that was cut.
    "AB:".repeat(20).slice(0, -1),
    "ab".repeat(20),
    "ab".repeat(31),
    "sha256:abcd",
    "CN=client",
    'spiffe://a"b',
    "spiffe://a b",
    `spiffe://${"a".repeat(600)}`,
  ])("%j is none", (text) => {
    expect(parseClientCert(text)).toEqual({ problem: expect.stringContaining("SHA-256 fingerprint") });
  });
});

describe("A certificate has a key's certificate", () => {
  const has = (certificate: { cert: string }, clientCert: string) =>
    isPeerCertificate(
      new X509Certificate(certificate.cert),
      (parseClientCert(clientCert) as { clientCert: string }).clientCert,
    );
  const client = makeCertificate("common.test", { dns: ["a.test", "B.test"], uris: ["spiffe://x/Y", "urn:z"] });

  test("by its fingerprint, or by one of its names exactly", () => {
    const { fingerprint256 } = new X509Certificate(client.cert);
    for (const name of [
      fingerprint256,
      fingerprint256.replaceAll(":", ""),
      "a.test",
      "b.TEST",
      "spiffe://x/Y",
      "urn:z",
    ]) {
      expect(has(client, name), name).toBe(true);
    }
  });

  test("and not by its common name, a part of a name, another case of a URI, or a name of another kind", () => {
    for (const name of ["common.test", "test", "x.a.test", "spiffe://x/y", "spiffe://x/Y/z", "spiffe://x", HEX]) {
      expect(has(client, name), name).toBe(false);
    }
    expect(has(makeCertificate("x", { dns: ["urn:z"] }), "urn:z")).toBe(false);
    expect(has(makeCertificate("x", { uris: ["a.test"] }), "a.test")).toBe(false);
  });

  test("and not by a name that another name of the certificate only contains (CVE-2021-44532)", () => {
    const forged = makeCertificate("x", {
      dns: ["b.test, URI:spiffe://x/Y", 'c.test", DNS:"a.test'],
      uris: ["http://e, DNS:a.test"],
    });
    for (const name of ["spiffe://x/Y", "a.test"]) expect(has(forged, name), name).toBe(false);
  });

  test("also as one that is only assumed", () => {
    for (const name of [HEX, "a.test", "spiffe://x/Y"]) {
      expect(isPeerCertificate(assumedCertificate(name), name), name).toBe(true);
      expect(isPeerCertificate(assumedCertificate("other.test"), name), name).toBe(false);
    }
  });
});
