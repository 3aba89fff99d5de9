/** Commands reach an https gateway, and say what to do when its certificate is not accepted. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeCertificate } from "../support/certificate.ts";
import { MANAGEMENT_KEY } from "../support/gateway.ts";
import { runCommand } from "../support/run-command.ts";
import { startTlsGateway, writeTlsFiles } from "../support/tls-gateway.ts";

const KEY = { MANAGEMENT_API_KEY: MANAGEMENT_KEY };

test("A command trusts the certificate of its own folder whatever its name and issuer, and any other one only if it is verified", async () => {
  const root = makeCertificate("root", { isAuthority: true });
  const { gateway, files } = await startTlsGateway({ env: KEY });
  // Issued by an authority that the command does not know, for another name than that of the address.
  files.write(makeCertificate("gateway.example.com", { issuer: root, dns: ["gateway.example.com"] }));
  await gateway.reload();
  const status = (env: Record<string, string>, ...words: string[]) =>
    runCommand({ ...KEY, ...env }, ["status", ...words]);
  const own = { HOST: "127.0.0.1", PORT: String(gateway.port) };
  const other = writeTlsFiles(makeCertificate("gateway.example.com", { issuer: root }));
  const [trusted, mismatched, plain, named] = await Promise.all([
    status({ ...own, ...files.env }),
    status({ ...own, ...other.env }),
    status(own),
    status({}, "--url", gateway.url),
  ]);
  expect([trusted.code, trusted.out]).toEqual([0, expect.stringContaining(`at ${gateway.url}`)]);
  expect([mismatched.code, mismatched.err]).toEqual([
    1,
    expect.stringMatching(/not (?:the one in TLS_CERT_FILE|trusted here)/),
  ]);
  expect([plain.code, plain.err]).toEqual([
    1,
    expect.stringContaining("A plain HTTP request was sent to an HTTPS port."),
  ]);
  expect([named.code, named.err]).toEqual([1, expect.stringContaining("Set NODE_EXTRA_CA_CERTS")]);
});

test("A command presents the client certificate of CLIENT_CERT_FILE and CLIENT_KEY_FILE", async () => {
  const authority = makeCertificate("Clients", { isAuthority: true });
  const { gateway, files } = await startTlsGateway({ env: KEY }, authority);
  const { cert, key } = makeCertificate("operator", { issuer: authority });
  const client = {
    CLIENT_CERT_FILE: join(files.directory, "own.pem"),
    CLIENT_KEY_FILE: join(files.directory, "own-key.pem"),
  };
  writeFileSync(client.CLIENT_CERT_FILE, cert);
  writeFileSync(client.CLIENT_KEY_FILE, key);
  const env = { ...KEY, ...files.env, HOST: "127.0.0.1", PORT: String(gateway.port) };
  const [without, presented] = await Promise.all([
    runCommand(env, ["status"]),
    runCommand({ ...env, ...client }, ["status"]),
  ]);
  expect([without.code, without.err]).toEqual([1, expect.stringContaining("Set CLIENT_CERT_FILE and CLIENT_KEY_FILE")]);
  expect([presented.code, presented.err]).toEqual([0, ""]);
});
