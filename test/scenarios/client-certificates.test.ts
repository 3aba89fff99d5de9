/** TLS_CLIENT_CA_FILE, and issued keys that are valid only with their client certificate. */
import { X509Certificate } from "node:crypto";
import { connect as connectHttp2 } from "node:http2";
import { connect as tlsConnect } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { makeCertificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startTlsGateway, tlsRequest } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const authority = makeCertificate("Clients", { isAuthority: true });
const alice = makeCertificate("alice", { issuer: authority, dns: ["alice.test"], uris: ["spiffe://test/alice"] });
const bob = makeCertificate("bob", { issuer: authority });
const certificateOf = ({ cert, key }: { cert: string; key: string }) => ({ cert, key });
const asAlice = certificateOf(alice);
const asBob = certificateOf(bob);

async function start(setup: Parameters<typeof startTlsGateway>[0] = {}) {
  const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...setup.env };
  const { gateway } = await startTlsGateway({ ...setup, env }, authority);
  return gateway;
}

/** A request of `/manage` with a certificate that no key is bound to. */
async function ask(
  gateway: TestGateway,
  method: string,
  path: string,
  content?: object,
  key = MANAGEMENT_KEY,
  as = asBob,
) {
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const body = content === undefined ? {} : { content: JSON.stringify(content) };
  const response = await tlsRequest(`${gateway.url}/manage${path}`, { method, headers, ...as, ...body });
  return { status: response.status, body: response.body === "" ? undefined : JSON.parse(response.body) };
}

async function issue(gateway: TestGateway, more: object = {}) {
  const { status, body } = await ask(gateway, "POST", "/keys", { name: "k", permissions: ["*:*"], ...more });
  expect(status).toBe(201);
  return body as { id: string; key: string; clientCert: string; warnings?: string[] };
}

describe("With TLS_CLIENT_CA_FILE", () => {
  test("A client without a certificate, with one of another authority, or with an expired one is refused in the handshake", async () => {
    const gateway = await start({ env: { LOG_LEVEL: "debug" } });
    const request = (options: object) => tlsRequest(`${gateway.url}/health`, options).catch(({ code }) => code);
    expect(await request(asAlice)).toMatchObject({ status: 200 });
    expect(await request({})).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
    expect(await request({ maxVersion: "TLSv1.2" })).toMatch(/^(?:EPROTO|ERR_SSL_.*ALERT_HANDSHAKE_FAILURE)$/);
    const others = makeCertificate("Others", { isAuthority: true });
    expect(await request(certificateOf(makeCertificate("alice", { issuer: others })))).toBe("ECONNRESET");
    expect(await request(certificateOf(makeCertificate("alice", { issuer: authority, fromDays: -2, days: -1 })))).toBe(
      "ECONNRESET",
    );
    expect(gateway.lines()).toContainEqual(
      expect.objectContaining({ level: 20, msg: "a TLS handshake failed", certificate: "CERT_HAS_EXPIRED" }),
    );
  });

  test("No TLS session is resumed, so that an expired certificate or a removed authority ends with the connection", async () => {
    const gateway = await start();
    const connectWith = (before?: Buffer) =>
      new Promise<{ session: Buffer | undefined; isReused: boolean }>((resolve) => {
        const target = { port: gateway.port, host: "127.0.0.1", rejectUnauthorized: false, ...asAlice };
        const socket = tlsConnect(before === undefined ? target : { ...target, session: before });
        let session: Buffer | undefined;
        socket.on("session", (latest) => {
          session = latest;
        });
        let isReused = false;
        socket.on("secureConnect", () => {
          isReused = socket.isSessionReused();
          socket.write("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        });
        socket.resume();
        socket.on("close", () => resolve({ session, isReused }));
      });
    const { session } = await connectWith();
    expect(session).toBeInstanceOf(Buffer);
    expect((await connectWith(session)).isReused).toBe(false);
  });

  test("A certificate alone opens nothing, and a key without a bound certificate works with any", async () => {
    const upstream = await startUpstream();
    const gateway = await start({ services: { a: { baseUrl: upstream.url } } });
    const { key } = await issue(gateway);
    const status = async (options: object) => (await tlsRequest(`${gateway.url}/proxy/a/x`, options)).status;
    expect(await status(asAlice)).toBe(401);
    expect(await status({ ...asAlice, headers: { "x-api-key": key } })).toBe(200);
    expect(await status({ ...asBob, headers: { "x-api-key": key } })).toBe(200);
  });
});

describe("A key with clientCert", () => {
  test.each([
    ["its fingerprint", new X509Certificate(alice.cert).fingerprint256],
    ["a DNS name", "ALICE.test"],
    ["a URI", "spiffe://test/alice"],
  ])("It is valid only on a connection with that certificate, bound by %s", async (_, clientCert) => {
    const upstream = await startUpstream();
    const gateway = await start({ services: { a: { baseUrl: upstream.url } } });
    const issued = await issue(gateway, { clientCert });
    expect(issued.warnings).toBeUndefined();
    const send = (options: object) =>
      tlsRequest(`${gateway.url}/proxy/a/x`, { headers: { "x-api-key": issued.key }, ...options });
    expect((await send(asAlice)).status).toBe(200);
    const refused = await send(asBob);
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.body)).toMatchObject({
      code: "INSUFFICIENT_PERMISSIONS",
      message: "The key is valid only with its client certificate; this connection has another certificate.",
      required: "clientCert",
    });
    expect(refused.body).not.toContain(issued.clientCert);
    expect(upstream.requests).toHaveLength(1);
  });

  test("A WebSocket on a stream of HTTP/2 has it, too", async () => {
    const echo = await startWebSocketEcho();
    const gateway = await start({ services: { ws: { baseUrl: echo.url, ws: true } } });
    const { key } = await issue(gateway, { clientCert: "alice.test" });
    const statusOf = (as: object) =>
      new Promise((resolve, reject) => {
        const session = connectHttp2(gateway.url, { ...as, rejectUnauthorized: false }).on("error", reject);
        session.once("remoteSettings", () => {
          const handshake = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https" };
          const headers = { ...handshake, ":path": "/proxy/ws/", "x-api-key": key, "sec-websocket-version": "13" };
          const stream = session.request(headers, { endStream: false }).on("error", () => {});
          stream.on("response", ({ ":status": status }) => {
            session.destroy();
            resolve(status);
          });
        });
      });
    expect([await statusOf(asAlice), await statusOf(asBob)]).toEqual([200, 403]);
  });

  test("A stream of HTTP/2 has the client certificate of its connection", async () => {
    const gateway = await start();
    const { key } = await issue(gateway, { permissions: ["*:*", "manage:*"], clientCert: "alice.test" });
    const statusOf = (as: object, path: string) =>
      new Promise((resolve, reject) => {
        const session = connectHttp2(gateway.url, { ...as, rejectUnauthorized: false }).on("error", reject);
        const stream = session.request({ ":path": path, "x-api-key": key });
        stream.on("response", ({ ":status": status }) => {
          stream.resume().on("close", () => session.close());
          resolve(status);
        });
      });
    for (const path of ["/proxy/echo/x", "/manage/keys", "/proxy/services"]) {
      expect([await statusOf(asAlice, path), await statusOf(asBob, path)], path).toEqual([200, 403]);
    }
  });

  test("It is refused on every route, without a guess being counted, and diagnostics, key-debug and explain say why", async () => {
    const upstream = await startUpstream();
    const gateway = await start({ services: { a: { baseUrl: upstream.url } } });
    const bound = { permissions: ["*:*", "manage:*"], clientCert: "alice.test" };
    const { id, key } = await issue(gateway, bound);
    // More than the lock-out allows for wrong keys.
    for (let i = 0; i < 15; i++) expect((await ask(gateway, "GET", "/services", undefined, key)).status).toBe(403);
    expect((await ask(gateway, "GET", "/services", undefined, key, asAlice)).status).toBe(200);
    const headers = { "x-api-key": key };
    expect((await tlsRequest(`${gateway.url}/proxy/services`, { headers, ...asBob })).status).toBe(403);
    const status = JSON.parse((await tlsRequest(`${gateway.url}/status`, { headers, ...asBob })).body);
    expect(status.services.find(({ key }: { key: string }) => key === "a")).not.toHaveProperty("baseUrl");

    const explain = async (more: object) => {
      const request = { method: "GET", path: "/proxy/a/x", caller: id, ...more };
      return (await ask(gateway, "POST", "/explain", request)).body;
    };
    expect(await explain({})).toMatchObject({
      verdict: "refuse",
      refusal: { message: expect.stringContaining("has no certificate") },
    });
    expect(await explain({ clientCert: "alice.test" })).toMatchObject({ verdict: "forward" });
    expect(await explain({ clientCert: "bob.test" })).toMatchObject({ verdict: "refuse" });
    const own = await tlsRequest(`${gateway.url}/manage/key-debug`, {
      headers: { "x-api-key": MANAGEMENT_KEY, authorization: `Bearer ${key}` },
      ...asBob,
    });
    expect(JSON.parse(own.body).code ?? "").toBe("INSUFFICIENT_PERMISSIONS");
    const { body } = await ask(gateway, "GET", "/diagnostics");
    const check = body.checks.find(({ id }: { id: string }) => id === "keys");
    expect(check).toMatchObject({
      status: "warn",
      summary: expect.stringContaining("was sent without its client certificate"),
    });
  });

  test("It keeps its certificate through a rotation, its WebSockets end when it is bound, and it grants no key without it", async () => {
    const echo = await startWebSocketEcho();
    const gateway = await start({ services: { ws: { baseUrl: echo.url, ws: true } } });
    const { id, key } = await issue(gateway, { permissions: ["*:*", "manage:*"] });
    const options = { rejectUnauthorized: false, headers: { "x-api-key": key }, ...asBob };
    const socket = new WebSocket(`${gateway.url.replace("https", "wss")}/proxy/ws/`, options);
    onTestFinished(() => socket.terminate());
    await new Promise((resolve) => socket.once("open", resolve));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    expect((await ask(gateway, "PATCH", `/keys/${id}`, { clientCert: "ALICE.test" })).body.clientCert).toBe(
      "alice.test",
    );
    await closed;
    const child = { name: "child", permissions: ["*:*"] };
    const asHolder = (content: object) => ask(gateway, "POST", "/keys", content, key, asAlice);
    expect((await asHolder(child)).body.message).toBe(
      "A key may not make one that may be used without its own client certificate.",
    );
    expect((await asHolder({ ...child, clientCert: "bob.test" })).status).toBe(403);
    expect((await asHolder({ ...child, clientCert: "alice.test" })).status).toBe(201);
    const { body: rotated } = await ask(gateway, "POST", `/keys/${id}/rotate`, {});
    expect(rotated.clientCert).toBe("alice.test");
    expect((await ask(gateway, "GET", "/services", undefined, rotated.key)).status).toBe(403);
    expect((await ask(gateway, "PATCH", `/keys/${id}`, { clientCert: null })).body.clientCert).toBeNull();
    expect((await ask(gateway, "GET", "/services", undefined, rotated.key)).status).toBe(200);
    const { body: refused } = await ask(gateway, "POST", "/keys", { ...child, clientCert: "AB:CD" });
    expect(refused.details.clientCert[0]).toContain("64 hexadecimal digits");
  });

  test("It cannot be used without TLS, nor on the port of a service, and its creation says so", async () => {
    const upstream = await startUpstream();
    const port = await freePort();
    const services = { a: { baseUrl: upstream.url, port } };
    const gateway = await start({ services });
    const { key } = await issue(gateway, { clientCert: "alice.test" });
    const atPort = await fetch(`http://127.0.0.1:${port}/x`, { headers: { "x-api-key": key } });
    expect([atPort.status, ((await atPort.json()) as { message: string }).message]).toEqual([
      403,
      "The key is valid only with its client certificate; this connection has no certificate.",
    ]);
    const plain = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { a: { baseUrl: upstream.url } },
    });
    const { body } = await manage(plain, "POST", "/keys", {
      name: "k",
      permissions: ["*:*"],
      clientCert: "alice.test",
    });
    expect(body.warnings).toEqual(["no client can use this key: client certificates need TLS_CLIENT_CA_FILE"]);
    expect((await fetch(`${plain.url}/proxy/a/x`, { headers: { "x-api-key": body.key } })).status).toBe(403);
    expect(upstream.requests).toHaveLength(0);
  });

  test("A record of an earlier version, without the member, is a key without a certificate", () => {
    const record = {
      name: "old",
      permissions: ["*:*"],
      createdAt: "2026-01-01T00:00:00.000Z",
      createdBy: "management-key",
      expiresAt: null,
      revokedAt: null,
      rateLimit: null,
      allowIps: [],
      digests: [{ sha256: "ab".repeat(32), validUntil: null }],
    };
    expect(isStoredKey(record)).toBe(true);
    expect(isStoredKey({ ...record, clientCert: null })).toBe(true);
    expect(isStoredKey({ ...record, clientCert: 5 })).toBe(false);
  });
});
