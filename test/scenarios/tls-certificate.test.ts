/** The certificate of the listener: checked at the start, and replaced without a dropped connection. */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
import type { CheckResult } from "../../src/diagnostics/check.ts";
import { openGateway } from "../../src/gateway.ts";
import { startFailure } from "../../src/start/start-failure.ts";
import { load } from "../config/temp-folder.ts";
import { makeCertificate } from "../support/certificate.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, type TestGateway } from "../support/gateway.ts";
import { startProcess } from "../support/process.ts";
import { startTlsGateway, tlsRequest, writeTlsFiles } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function manage(gateway: TestGateway, method: string, path: string) {
  const headers = { "x-api-key": MANAGEMENT_KEY };
  const { body } = await tlsRequest(`${gateway.url}${path}`, { method, headers });
  return JSON.parse(body);
}

async function check(gateway: TestGateway): Promise<CheckResult> {
  const { checks } = await manage(gateway, "GET", "/manage/diagnostics");
  return checks.find(({ id }: CheckResult) => id === "tls-listener");
}

const fingerprintAt = async (url: string) => (await tlsRequest(`${url}/health`)).fingerprint;

describe("At the start", () => {
  test("A pair that cannot be served ends the start with exit code 1 and one line", async () => {
    const { env } = writeTlsFiles({ cert: makeCertificate("a").cert, key: makeCertificate("b").key });
    const config = await load(undefined, { ...env, HOST: "127.0.0.1", PORT: "0" });
    const failure = startFailure(await openGateway(config).catch((error) => error));
    expect(failure).toMatchObject({
      exitCode: 1,
      lines: [expect.stringMatching(/^TLS_KEY_FILE \/.* cannot be used: its key is not/)],
    });
  });

  test("One file of the pair without the other is a problem of the configuration", async () => {
    const only = (env: Record<string, string>) => load(undefined, env).catch(({ problems }) => problems);
    expect(await only({ TLS_CERT_FILE: "cert.pem" })).toEqual([
      "TLS_CERT_FILE (environment): found without TLS_KEY_FILE, allowed: TLS_CERT_FILE and TLS_KEY_FILE together",
    ]);
    expect(await only({ TLS_CLIENT_CA_FILE: "ca.pem" })).toEqual([
      "TLS_CLIENT_CA_FILE (environment): found without TLS_CERT_FILE and TLS_KEY_FILE, allowed: TLS_CERT_FILE and TLS_KEY_FILE together",
    ]);
  });
});

describe("While the gateway runs", () => {
  test("A new pair is served to new connections, and no request, WebSocket or idle connection is lost", async () => {
    const upstream = await startUpstream((_, res) => void setTimeout(() => res.end("done"), 20));
    const echo = await startWebSocketEcho();
    const { gateway, files, pair } = await startTlsGateway({
      env: KEYS,
      services: { a: { baseUrl: upstream.url }, ws: { baseUrl: echo.url, ws: true } },
    });
    const headers = { "x-api-key": PROXY_KEY };
    const socket = new WebSocket(`${gateway.url.replace("https", "wss")}/proxy/ws/`, {
      rejectUnauthorized: false,
      headers,
    });
    onTestFinished(() => socket.terminate());
    await new Promise((resolve) => socket.once("open", resolve));
    const before = await fingerprintAt(gateway.url);
    const next = makeCertificate("localhost", { dns: ["localhost"] });
    const requests = Array.from({ length: 100 }, async (_, index) => {
      if (index === 50) {
        files.write(next);
        expect(await manage(gateway, "POST", "/manage/reload")).toMatchObject({ warnings: [] });
      }
      return tlsRequest(`${gateway.url}/proxy/a/x`, { headers });
    });
    const answers = await Promise.all(requests);
    expect(new Set(answers.map(({ status, body }) => `${status} ${body}`))).toEqual(new Set(["200 done"]));
    const after = await fingerprintAt(gateway.url);
    expect(after).not.toBe(before);
    const message = new Promise((resolve) => socket.once("message", (data) => resolve(String(data))));
    socket.send("still open");
    expect(await message).toBe("still open");
    const { tls } = await manage(gateway, "GET", "/status");
    expect(tls).toMatchObject({ fingerprint: after, daysLeft: 89 });
    const { body: metrics } = await tlsRequest(`${gateway.url}/metrics`, { headers: { "x-api-key": MANAGEMENT_KEY } });
    expect(metrics).toMatch(/byteproxy_tls_certificate_end_seconds \d{10}/);
    expect(gateway.logText()).not.toContain(next.key.split("\n")[1]);
    expect(gateway.logText()).not.toContain(pair.key.split("\n")[1]);
  });

  test("A new pair that cannot be served leaves the old one in use, is logged, and fails the check until it is repaired", async () => {
    const { gateway, files, pair } = await startTlsGateway({ env: KEYS });
    expect(await check(gateway)).toMatchObject({
      status: "ok",
      summary: "the certificate is valid for 89 more days, and self-signed",
    });
    const before = await fingerprintAt(gateway.url);
    const next = makeCertificate("localhost");
    // A renewal that has written one of its two files.
    writeFileSync(files.env.TLS_CERT_FILE as string, next.cert);
    const { warnings } = await manage(gateway, "POST", "/manage/reload");
    expect(warnings).toEqual([expect.stringContaining("its key is not that of the certificate")]);
    expect(await fingerprintAt(gateway.url)).toBe(before);
    expect(await check(gateway)).toMatchObject({ status: "fail", summary: expect.stringContaining("TLS_KEY_FILE") });
    expect(gateway.lines()).toContainEqual(
      expect.objectContaining({
        level: 50,
        msg: expect.stringContaining("The listener keeps its certificate. TLS_KEY_FILE"),
      }),
    );
    for (const [bad, words] of [
      [makeCertificate("localhost", { fromDays: 1 }), "is valid from"],
      [makeCertificate("localhost", { fromDays: -2, days: -1 }), "expired on"],
    ] as const) {
      files.write(bad);
      await gateway.reload();
      expect(await fingerprintAt(gateway.url)).toBe(before);
      expect((await check(gateway)).summary).toContain(words);
    }
    files.write(next);
    await gateway.reload();
    expect(await check(gateway)).toMatchObject({ status: "ok" });
    expect(await fingerprintAt(gateway.url)).not.toBe(before);
    expect(gateway.logText()).not.toContain(pair.key.split("\n")[1]);
  });

  test("A session is resumed after a new certificate, so that a renewal causes no burst of full handshakes", async () => {
    const { gateway, files } = await startTlsGateway({ env: KEYS });
    const connectWith = (before?: Buffer) =>
      new Promise<{ session: Buffer | undefined; isReused: boolean }>((resolve) => {
        const target = { port: gateway.port, host: "127.0.0.1", rejectUnauthorized: false };
        const socket = tlsConnect(before === undefined ? target : { ...target, session: before });
        let session: Buffer | undefined;
        let isReused = false;
        socket.on("session", (latest) => {
          session = latest;
        });
        socket.on("secureConnect", () => {
          isReused = socket.isSessionReused();
          socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        });
        socket.resume();
        socket.on("close", () => resolve({ session, isReused }));
      });
    const { session } = await connectWith();
    files.write(makeCertificate("localhost"));
    await gateway.reload();
    expect((await connectWith(session)).isReused).toBe(true);
  });
});

test("The check warns before the certificate expires, fails shortly before, and warns of a chain with a gap", async () => {
  const root = makeCertificate("Test Root", { isAuthority: true });
  const { gateway, files } = await startTlsGateway({ env: KEYS });
  const checkWith = async (certificate: { cert: string; key: string }) => {
    files.write(certificate);
    await gateway.reload();
    const { status, summary } = await check(gateway);
    return [status, summary];
  };
  const due = (days: number) => makeCertificate("x", { fromDays: -90, days: days + 0.5 });
  expect(await checkWith(due(29))).toEqual(["warn", "the certificate expires in 29 days"]);
  expect(await checkWith(due(5))).toEqual(["fail", "the certificate expires in 5 days"]);
  expect(await checkWith(makeCertificate("x", { issuer: root }))).toEqual([
    "warn",
    "TLS_CERT_FILE does not have the issuer CN=Test Root",
  ]);
  expect(gateway.logText()).toMatch(/the certificate of the listener expires at .*: renew it/);
});

test("The process takes a renewed pair when its files change, and on SIGHUP", async () => {
  // As Kubernetes mounts a secret: the files lie behind a link, which a renewal replaces.
  const { directory, env } = writeTlsFiles(makeCertificate("localhost"));
  const mounted = { TLS_CERT_FILE: join(directory, "data/cert.pem"), TLS_KEY_FILE: join(directory, "data/key.pem") };
  const renew = (name: string) => {
    const { cert, key } = makeCertificate("localhost");
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, "cert.pem"), cert);
    writeFileSync(join(directory, name, "key.pem"), key);
    symlinkSync(name, join(directory, "next"));
    renameSync(join(directory, "next"), join(directory, "data"));
  };
  renew("first");
  const run = startProcess({ ...env, ...mounted, HOST: "127.0.0.1" });
  const url = `https://127.0.0.1:${await run.port()}`;
  const seen = new Set([await fingerprintAt(url)]);
  const isNew = async () => {
    const { size } = seen;
    return seen.add(await fingerprintAt(url)).size > size;
  };
  renew("second");
  run.child.kill("SIGHUP");
  await eventually(isNew, "the pair that was there at SIGHUP");
  renew("third");
  await eventually(isNew, "the pair of the watched files", 6_000);
});
