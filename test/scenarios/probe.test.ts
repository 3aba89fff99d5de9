/** POST /manage/services/:service/test reports how far a connection gets, and why it fails. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

const pem = (name: string) => join(import.meta.dirname, "../support/tls", name);
const SECRET = "the-upstream-secret-0123456789";

async function probe(service: Partial<ServiceInput>, env: Record<string, string> = {}) {
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: SECRET, ...env },
    services: { api: { timeoutMs: 500, connectTimeoutMs: 500, ...service } },
  });
  const answer = await manage(gateway, "POST", "/services/api/test");
  expect(answer.status).toBe(200);
  expect(JSON.stringify(answer.body)).not.toContain(SECRET);
  return answer.body;
}

async function startTls(name: string): Promise<string> {
  const server = createServer({ cert: readFileSync(pem(`${name}.pem`)), key: readFileSync(pem(`${name}-key.pem`)) });
  return `https://localhost:${(await startUpstream((_, res) => res.end("ok"), server)).port}/`;
}

describe("a probe", () => {
  test("A probe of a working upstream reports its status, its times and that it accepts the credential", async () => {
    const upstream = await startUpstream((_, res) => res.end("x".repeat(100_000)));
    const baseUrl = `${upstream.url}/base/`;
    const auth = { type: "bearer", tokenEnvVar: "TOKEN" } as const;
    const body = await probe({ baseUrl, auth, headers: { "X-Default": "1" }, setHeaders: { "user-agent": "mine" } });
    expect(body).toEqual({
      service: "api",
      status: "reachable",
      responseStatus: 200,
      duration: expect.stringMatching(/^\d+ms$/),
      baseUrl,
      phases: { dns: null, connect: expect.any(Number), proxy: null, tls: null, http: expect.any(Number) },
      certificate: null,
      clockDifference: expect.any(Number),
      credential: "accepted",
    });
    expect(Math.abs(body.clockDifference)).toBeLessThanOrEqual(1);
    const [request] = upstream.requests;
    expect([request?.method, request?.url]).toEqual(["GET", "/base/"]);
    expect(request?.headers).toMatchObject({
      authorization: `Bearer ${SECRET}`,
      "x-default": "1",
      "user-agent": "mine",
    });
  });

  test.each([
    [401, "refused"],
    [403, "unknown"],
    [204, "accepted"],
    [404, "unknown"],
    [500, "unknown"],
  ])("A probe with response %i reports the credential as %s", async (status, credential) => {
    const upstream = await startUpstream((_, res) => res.writeHead(status).end());
    const auth = { type: "api-key", queryParam: "key", tokenEnvVar: "TOKEN" } as const;
    expect(await probe({ baseUrl: upstream.url, auth })).toMatchObject({
      status: "reachable",
      responseStatus: status,
      credential,
    });
    expect(upstream.requests[0]?.url).toBe(`/?key=${SECRET}`);
  });

  test("A probe without a credential reports whether the service has none or it is missing", async () => {
    const upstream = await startUpstream();
    expect(await probe({ baseUrl: upstream.url })).toMatchObject({ credential: "none" });
    const auth = { type: "bearer", tokenEnvVar: "UNSET" } as const;
    expect(await probe({ baseUrl: upstream.url, auth })).toMatchObject({ status: "reachable", credential: "missing" });
    expect(upstream.requests[1]?.headers.authorization).toBeUndefined();
  });

  test("A probe reports the difference of the clocks", async () => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    const upstream = await startUpstream((_, res) => res.writeHead(200, { date }).end());
    const { clockDifference } = await probe({ baseUrl: upstream.url });
    expect(clockDifference).toBeGreaterThan(3_597);
    expect(clockDifference).toBeLessThanOrEqual(3_600);
  });

  test("A probe over TLS reports the certificate", async () => {
    const body = await probe({ baseUrl: await startTls("localhost"), tls: { caFile: pem("ca.pem") } });
    expect(body).toMatchObject({
      status: "reachable",
      phases: {
        dns: expect.any(Number),
        connect: expect.any(Number),
        tls: expect.any(Number),
        http: expect.any(Number),
      },
      certificate: {
        names: expect.arrayContaining(["DNS:localhost"]),
        daysLeft: expect.any(Number),
        protocol: "TLSv1.3",
      },
    });
    expect(body.certificate.daysLeft).toBeGreaterThan(0);
    expect(body.certificate.issuer).not.toBe("");
  });

  test.each([
    ["expired", pem("ca.pem"), /expired/, (days: number) => days < 0],
    ["self-signed", undefined, /self-signed/, (days: number) => days > 0],
    ["other", pem("ca.pem"), /another name/, (days: number) => days > 0],
  ])(
    "A probe of an upstream with a refused certificate reports the reason and the certificate: %s",
    async (name, caFile, words, isRight) => {
      const body = await probe({ baseUrl: await startTls(name), ...(caFile === undefined ? {} : { tls: { caFile } }) });
      expect(body).toMatchObject({
        status: "unreachable",
        phase: "tls",
        code: "UPSTREAM_TLS_ERROR",
        responseStatus: null,
      });
      expect(body.error).toMatch(words);
      expect(isRight(body.certificate.daysLeft)).toBe(true);
      expect(body.troubleshooting).toEqual([expect.stringContaining("tls.caFile")]);
      expect(body.phases).toMatchObject({ connect: expect.any(Number), tls: null, http: null });
    },
  );

  test("A probe of a closed port fails in connect, and a probe of a forbidden address fails before that", async () => {
    const closed = await startUpstream();
    const body = await probe({ baseUrl: "http://127.0.0.1:9/" });
    expect(body).toMatchObject({
      status: "unreachable",
      phase: "connect",
      code: "UPSTREAM_UNREACHABLE",
      certificate: null,
    });
    expect(await probe({ baseUrl: closed.url }, { EGRESS_ALLOW_PRIVATE: "false" })).toMatchObject({
      status: "unreachable",
      code: "EGRESS_NOT_ALLOWED",
    });
    expect(closed.requests).toEqual([]);
  });

  test.each([
    ["sends nothing", () => {}, "UPSTREAM_TIMEOUT", /no response within 500 ms/],
    ["closes the connection", respondWith("", "end"), "UPSTREAM_UNREACHABLE", /closed the connection/],
    ["sends malformed bytes", respondWith("nonsense\r\n\r\n"), "UPSTREAM_PROTOCOL_ERROR", /not well-formed/],
  ])("A probe of an upstream that %s fails in http", async (_, behave, code, words) => {
    const upstream = await startRawUpstream(behave);
    const body = await probe({ baseUrl: upstream.url });
    expect(body).toMatchObject({ status: "unreachable", phase: "http", code });
    expect(body.error).toMatch(words);
    expect(upstream.sockets.size).toBeLessThanOrEqual(1);
  });

  test("A probe of the embedded service works, and a probe of an unknown service is 404", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    expect((await manage(gateway, "POST", "/services/echo/test")).body).toMatchObject({
      status: "reachable",
      responseStatus: 200,
    });
    expect((await manage(gateway, "POST", "/services/nope/test")).body.code).toBe("SERVICE_NOT_CONFIGURED");
    expect((await manage(gateway, "GET", "/services/echo/test")).status).toBe(405);
    expect((await fetch(`${gateway.url}/manage/services/echo/test`, { method: "POST" })).status).toBe(401);
  });
});
