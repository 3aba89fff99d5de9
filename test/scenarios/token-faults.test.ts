/** JSON Web Tokens under attack and at the edges: clients that leave, keys that end, and tokens in unexpected places. */

import { createHmac } from "node:crypto";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import {
  AUDIENCE,
  claimsWith,
  createIssuerKey,
  ISSUER,
  SECRET,
  signWithSecret,
  startIssuer,
} from "../support/issuer.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const SECRET_ENV = { JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, JWT_SECRET: SECRET };

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

/** As some libraries of issuers write it. */
function signWithSpaces(): string {
  const parts = [{ alg: "HS256" }, claimsWith()].map((part) =>
    Buffer.from(JSON.stringify(part, null, 2)).toString("base64url"),
  );
  const text = parts.join(".");
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

const handshake = (token: string) =>
  `GET /proxy/ws/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

async function openWebSocket({ port }: TestGateway, headers: Record<string, string>): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/proxy/ws/`, { headers });
  await once(socket, "open");
  return socket;
}

describe("a client", () => {
  test("that leaves a WebSocket handshake while its token is verified opens nothing, and its slot is free again", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    let release = () => {};
    issuer.state.held = new Promise((resolve) => {
      release = resolve;
    });
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...issuer.env },
      services: { ws: { baseUrl: upstream.url, ws: true } },
    });
    const client = await openSocket(gateway.port);
    client.write(handshake(await key.sign()));
    await eventually(() => issuer.requests.length === 1);
    client.end();
    await once(client, "close");
    release();
    await eventually(() => gateway.exchanges().length === 1);
    expect(gateway.exchanges()).toMatchObject([{ outcome: "client-left", status: 499 }]);
    expect(upstream.requests).toHaveLength(0);
  });

  test("with a token learns nothing at /manage, where no token is verified", async () => {
    const key = await createIssuerKey("one");
    const issuer = await startIssuer(key);
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...issuer.env } });
    const response = await fetch(`${gateway.url}/manage/services`, { headers: bearer(await key.sign()) });
    expect(response.status).toBe(401);
    expect(issuer.requests).toHaveLength(0);
  });

  test("whose token the lock-out of its address would refuse is known by its subject, and no other subject is", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...SECRET_ENV },
      services: { api: { baseUrl: upstream.url } },
    });
    const ask = async (token: string) => (await fetch(`${gateway.url}/proxy/api/x`, { headers: bearer(token) })).status;
    expect(await ask(await signWithSecret())).toBe(200);
    for (let i = 0; i < 10; i++) await ask(await signWithSecret({ jti: `${i}`, sub: "mallory" }, `${SECRET}x`));
    expect(await ask(await signWithSecret({ sub: "bob" }))).toBe(429);
    expect(await ask(await signWithSecret({ jti: "next" }))).toBe(200);
    expect(await ask(await signWithSecret({ jti: "forged" }, `${SECRET}x`))).toBe(401);
  });
});

describe("a WebSocket", () => {
  test("of a token or of PROXY_API_KEY gets 1001 when a reload ends what admitted it, and others stay open", async () => {
    const echo = await startWebSocketEcho();
    const env: Record<string, string> = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY, ...SECRET_ENV };
    const gateway = await startGateway({ env, services: { ws: { baseUrl: echo.url, ws: true } } });
    const ofToken = await openWebSocket(gateway, bearer(await signWithSecret()));
    const ofKey = await openWebSocket(gateway, bearer(PROXY_KEY));
    await gateway.reload();
    const tokenEnd = once(ofToken, "close");
    env.JWT_SECRET = `${SECRET}-of-the-next-configuration`;
    expect((await gateway.reload()).isDone).toBe(true);
    expect((await tokenEnd)[0]).toBe(1001);
    expect(ofKey.readyState).toBe(WebSocket.OPEN);
    const keyEnd = once(ofKey, "close");
    env.PROXY_API_KEY = `${PROXY_KEY}-of-the-next-configuration`;
    expect((await gateway.reload()).isDone).toBe(true);
    expect((await keyEnd)[0]).toBe(1001);
  });

  test("that PROXY_API_KEY was opening while a reload changed it gets 1001 as soon as it is open", async () => {
    const upstream = await startRawUpstream(() => {});
    const env: Record<string, string> = { PROXY_API_KEY: PROXY_KEY };
    const gateway = await startGateway({ env, services: { ws: { baseUrl: upstream.url, ws: true } } });
    const client = await openSocket(gateway.port);
    client.write(handshake(PROXY_KEY));
    await eventually(() => upstream.received.length === 1 && upstream.sockets.size === 1);
    env.PROXY_API_KEY = `${PROXY_KEY}-of-the-next-configuration`;
    expect((await gateway.reload()).isDone).toBe(true);
    for (const socket of upstream.sockets) {
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
      );
    }
    await eventually(() => client.received.endsWith("\x88\x02\x03\xe9"));
    client.destroy();
  });
});

describe("a token", () => {
  test("does not travel in the middle of a text, and with white space in its JSON it is accepted and masked", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY, ...SECRET_ENV },
      services: { api: { baseUrl: upstream.url, cookies: true } },
    });
    const ask = (path: string, headers: Record<string, string> = {}) =>
      fetch(`${gateway.url}/proxy/api/${path}`, { headers: { ...bearer(PROXY_KEY), ...headers } });
    const spaced = signWithSpaces();
    expect((await ask("x", bearer(spaced))).status).toBe(200);
    for (const token of [await signWithSecret(), spaced]) {
      const before = upstream.requests.length;
      const responses = [
        await ask("x", { "x-note": `a, ${token}, b` }),
        await ask("x", { "x-note": JSON.stringify({ token }) }),
        await ask("x", { cookie: `a=1; session=s%3A${token}; b=2` }),
        await ask(`x?next=https://example.com/%23t=${token}`),
        await ask(`bot${token}/getMe`),
      ];
      expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 400]);
      const sent = upstream.requests.slice(before);
      expect(sent).toHaveLength(4);
      expect(JSON.stringify(sent.map(({ url, rawHeaders }) => [url, rawHeaders]))).not.toContain(token.split(".")[1]);
      expect(sent[2]?.headers.cookie).toBe("a=1; b=2");
    }
    await eventually(() => gateway.exchanges().length === 11);
    expect(gateway.logText()).not.toContain(spaced.split(".")[1]);
  });
});
