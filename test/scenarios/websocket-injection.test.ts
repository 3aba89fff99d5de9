/** The credential in messages of a WebSocket, through a gateway, with real clients and an upstream that shows what it receives. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { clientFrame, textFrame } from "../support/frames.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket } from "../support/raw-request.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const SECRET = 'bot"secret-f81d4fae7dec';
const OTHER = "other-secret-7dec-f81d4fae";
const BOT = { type: "bot", tokenEnvVar: "BOT_TOKEN" } as const;
const TOKEN_ALONE = { type: "custom", secrets: { token: { envVar: "BOT_TOKEN" } } } as const;
const TWO = { ...TOKEN_ALONE, secrets: { id: { envVar: "OTHER" }, key: { envVar: "BOT_TOKEN" } } };
const PRINTED = { type: "custom" as const, secrets: { key: { command: ["echo", "printed-secret"] } } };
const EXTENSIONS = { "Sec-WebSocket-Extensions": "permessage-deflate" };
const ws = { inject: "discord-identify" } as const;
const RULE = { match: { type: "auth" }, path: "credentials.0.key" };

const identify = (token: string, op = 2) => JSON.stringify({ op, d: { token, intents: 513 } });

/** A gateway with an upstream that returns each message. @param more further services by key. */
async function start(
  more: (url: string) => Record<string, Partial<ServiceInput>> = () => ({}),
  env: Record<string, string> = {},
) {
  const upstream = await startWebSocketEcho();
  const gateway = await startGateway({
    env: {
      BOT_TOKEN: SECRET,
      OTHER,
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      ...env,
    },
    services: {
      bot: { baseUrl: upstream.url, auth: BOT, ws },
      ...more(upstream.url),
    },
  });
  return { upstream, gateway };
}

async function open({ port }: TestGateway, service = "bot", key = PROXY_KEY): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/proxy/${service}/?v=10`, { headers: { "x-api-key": key } });
  onTestFinished(() => socket.terminate());
  await once(socket, "open");
  return socket;
}

/** What the upstream received of this message. */
async function echoOf(socket: WebSocket, message: string | Buffer): Promise<string> {
  const received = once(socket, "message");
  socket.send(message);
  return String((await received)[0]);
}

async function issueKey(gateway: TestGateway): Promise<{ readonly id: string; readonly key: string }> {
  const { body } = await manage(gateway, "POST", "/keys", { name: "bot", permissions: ["*:*"] });
  return body;
}

/** A handshake by hand, for frames that no library sends. */
async function openRaw({ port }: TestGateway, key = PROXY_KEY) {
  const socket = await openSocket(port);
  socket.write(
    `GET /proxy/bot/ HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: ${key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  await eventually(() => socket.received.endsWith("\r\n\r\n"));
  socket.received = "";
  return socket;
}

describe("Messages of a service with ws.inject", () => {
  test("The placeholder and the caller's own key are replaced by the secret in each matching message, and nothing else is", async () => {
    const { gateway } = await start();
    const socket = await open(gateway);
    const { key } = await issueKey(gateway);
    for (const token of ["{token}", PROXY_KEY]) {
      for (const op of [2, 6, 2]) expect(await echoOf(socket, identify(token, op))).toBe(identify(SECRET, op));
    }
    const untouched = [
      identify("{token}", 1),
      identify("{Token}"),
      identify(MANAGEMENT_KEY),
      identify(key),
      "{token}",
      "x",
    ];
    for (const message of untouched) expect(await echoOf(socket, message)).toBe(message);
    const long = identify("{token}").replace("513", `"${"x".repeat(70_000)}"`);
    expect(await echoOf(socket, long)).toBe(long);
    expect(await echoOf(socket, Buffer.from(identify("{token}")))).toBe(identify("{token}"));
    expect(gateway.logText()).not.toContain("secret-f81d4fae7dec");
  });

  test("An issued key stands for the secret until it is revoked, also after a rotation, and a key of another caller never does", async () => {
    const { gateway } = await start();
    const { id, key } = await issueKey(gateway);
    const socket = await open(gateway, "bot", key);
    expect(await echoOf(socket, identify(key))).toBe(identify(SECRET));
    expect(await echoOf(socket, identify(PROXY_KEY))).toBe(identify(PROXY_KEY));
    const rotated = (await manage(gateway, "POST", `/keys/${id}/rotate`, { graceSeconds: 60 })).body.key;
    expect(await echoOf(socket, identify(rotated))).toBe(identify(SECRET));
    const closed = once(socket, "close");
    await manage(gateway, "DELETE", `/keys/${id}`);
    expect((await closed)[0]).toBe(1001);
  });

  test("A fragmented message is replaced as a whole, and a ping between its fragments is answered before its end", async () => {
    const { gateway } = await start();
    const socket = await open(gateway);
    const message = identify("{token}");
    const received = once(socket, "message");
    socket.send(message.slice(0, 20), { fin: false });
    const pong = once(socket, "pong");
    socket.ping("now");
    expect(String((await pong)[0])).toBe("now");
    socket.send(message.slice(20), { fin: true });
    expect(String((await received)[0])).toBe(identify(SECRET));
  });

  test("Each secret of a custom credential has its own placeholder, and a key stands for none of several", async () => {
    const { gateway, upstream } = await start((baseUrl) => ({
      two: { baseUrl, auth: TWO, ws: { inject: RULE } },
      one: { baseUrl, auth: TOKEN_ALONE, ws: { inject: RULE } },
      printed: { baseUrl, auth: PRINTED, ws: { inject: RULE } },
    }));
    const auth = (key: string) => JSON.stringify({ type: "auth", credentials: [{ key }] });
    const two = await open(gateway, "two");
    expect(await echoOf(two, auth("{id}"))).toBe(auth(OTHER));
    expect(await echoOf(two, auth("{key}"))).toBe(auth(SECRET));
    expect(await echoOf(two, auth(PROXY_KEY))).toBe(auth(PROXY_KEY));
    const one = await open(gateway, "one");
    expect(await echoOf(one, auth(PROXY_KEY))).toBe(auth(SECRET));
    expect(await echoOf(await open(gateway, "printed"), auth("{key}"))).toBe(auth("printed-secret"));
    for (const { rawHeaders } of upstream.requests) expect(rawHeaders.join()).not.toMatch(/secret|proxy-key/);
  });

  test("After a reload an open WebSocket gets the new secret, unless its service has another rule now", async () => {
    const inFile = { type: "custom", secrets: { token: { file: "bot.token" } } } as const;
    let url = "";
    const { gateway } = await start((baseUrl) => {
      url = baseUrl;
      return { filed: { baseUrl, auth: inFile, ws } };
    });
    const reload = async (secret: string) => {
      writeFileSync(join(gateway.directory, "bot.token"), secret, { mode: 0o600 });
      await gateway.reload();
    };
    await reload("secret-one-7dec");
    const socket = await open(gateway, "filed");
    for (const secret of ["secret-one-7dec", "secret-two-7dec", "secret-three-7dec"]) {
      await reload(secret);
      expect(await echoOf(socket, identify(PROXY_KEY))).toBe(identify(secret));
    }
    const services = { filed: { baseUrl: url, auth: inFile, ws: { inject: RULE } } };
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
    await reload("secret-four-7dec");
    expect(await echoOf(socket, identify("{token}"))).toBe(identify("secret-three-7dec"));
  });

  test("Without its optional secret, and with ws: true, all messages pass untouched", async () => {
    const { gateway } = await start((baseUrl) => ({
      none: { baseUrl, auth: { ...BOT, tokenEnvVar: "NOT_SET", required: false }, ws },
      plain: { baseUrl, auth: BOT, ws: true },
    }));
    for (const service of ["none", "plain"]) {
      expect(await echoOf(await open(gateway, service), identify("{token}"))).toBe(identify("{token}"));
    }
  });

  test("A handshake offers the upstream no extension, and its response names none, also if one is configured", async () => {
    const { gateway, upstream } = await start((baseUrl) => ({
      forced: { baseUrl, auth: BOT, ws, setHeaders: EXTENSIONS },
      added: { baseUrl, auth: BOT, ws, headers: EXTENSIONS },
    }));
    upstream.server.on("headers", (headers: string[]) => headers.push("Sec-WebSocket-Extensions: permessage-deflate"));
    for (const service of ["bot", "forced", "added"]) expect((await open(gateway, service)).extensions).toBe("");
    expect(upstream.requests.map(({ headers }) => headers["sec-websocket-extensions"] ?? "none")).toEqual(
      Array(3).fill("none"),
    );
    expect(upstream.requests[0]?.headers.authorization).toBe(`Bot ${SECRET}`);
  });

  test("The key may be the password in the URL of a WebSocket, and does not reach the upstream", async () => {
    const { gateway, upstream } = await start((baseUrl) => ({
      alone: { baseUrl, auth: TOKEN_ALONE, ws },
    }));
    const socket = new WebSocket(`ws://any:${PROXY_KEY}@127.0.0.1:${gateway.port}/proxy/alone/`);
    onTestFinished(() => socket.terminate());
    await once(socket, "open");
    expect(await echoOf(socket, identify(PROXY_KEY))).toBe(identify(SECRET));
    expect(upstream.requests[0]?.headers.authorization).toBeUndefined();
    const page = { origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    const refused = new WebSocket(`ws://any:${PROXY_KEY}@127.0.0.1:${gateway.port}/proxy/alone/`, { headers: page });
    expect(((await once(refused, "unexpected-response")) as [unknown, IncomingMessage])[1].statusCode).toBe(401);
  });
});

describe("Invalid and unfinished frames at a service with ws.inject", () => {
  test.each([
    ["a compressed frame", [0xc1, 0x80, 0, 0, 0, 0], "reserved bits"],
    ["a frame without a mask", [0x81, 0x01, 0x41], "frame without a mask"],
    ["a length of 2^63", [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "length of 2^63 or more"],
    ["a fragment of no message", [0x80, 0x80, 0, 0, 0, 0], "continuation without a message"],
  ])("%s ends the WebSocket with 1002 and the reason, after what came before it", async (_, bytes, reason) => {
    const { gateway, upstream } = await start();
    const socket = await openRaw(gateway);
    socket.write(Buffer.concat([textFrame("before"), Buffer.from(bytes), textFrame("after")]));
    await once(socket, "close");
    const text = `invalid frame: ${reason}`;
    const close = `\x88${String.fromCharCode(2 + text.length)}\x03\xea${text}`;
    expect(socket.received.replace("\x81\x06before", "")).toBe(close);
    await eventually(() => upstream.server.clients.size === 0);
    await eventually(() => gateway.exchanges().length === 1);
  });

  test("A client whose key was revoked gets no secret into a message while its WebSocket ends", async () => {
    const { gateway, upstream } = await start();
    const received: string[] = [];
    upstream.server.on("connection", (peer) => peer.on("message", (data) => received.push(String(data))));
    const { id, key } = await issueKey(gateway);
    const socket = await openRaw(gateway, key);
    await manage(gateway, "DELETE", `/keys/${id}`);
    await eventually(() => socket.received === "\x88\x02\x03\xe9");
    const closed = once(socket, "close");
    socket.write(Buffer.concat([textFrame("last"), textFrame(identify("{token}")), textFrame("later")]));
    await closed;
    await eventually(() => upstream.server.clients.size === 0);
    expect(received).toEqual(["last"]);
  });

  test("A client that leaves inside a message sends nothing of it, and both sides end", async () => {
    const { gateway, upstream } = await start();
    const received: string[] = [];
    upstream.server.on("connection", (peer) => peer.on("message", (data) => received.push(String(data))));
    const socket = await openRaw(gateway);
    socket.end(Buffer.concat([textFrame("whole"), textFrame(identify("{token}")).subarray(0, 30)]));
    await eventually(() => upstream.server.clients.size === 0);
    expect(received).toEqual(["whole"]);
    await eventually(() => gateway.exchanges().length === 1);
  });

  test("A client that stops inside a message gets 1001 when the gateway ends", async () => {
    const { gateway } = await start();
    const socket = await openRaw(gateway);
    socket.write(clientFrame({ opcode: 1, payload: Buffer.from('{"op":2,'), isFinal: false }));
    const closed = once(socket, "close");
    const draining = gateway.drain(0, 4_000);
    await eventually(() => socket.received === "\x88\x02\x03\xe9");
    socket.end(clientFrame({ opcode: 8, payload: Buffer.from([3, 233]), isFinal: true }));
    await closed;
    expect(await draining).toBe(0);
  });
});

describe("What operators see of ws.inject", () => {
  test("Status and explain name the rule, and no secret", async () => {
    const { gateway } = await start((baseUrl) => ({ two: { baseUrl, auth: TWO, ws: { inject: RULE } } }));
    const status = (await (await fetch(`${gateway.url}/status`)).json()) as { services: Record<string, unknown>[] };
    const shown = Object.fromEntries(status.services.map(({ key, ws, inject }) => [key, [ws, inject]]));
    expect(shown.bot).toEqual([true, "d.token where op is 2 or 6"]);
    expect(shown.two).toEqual([true, 'credentials.0.key where type is "auth"']);
    expect(shown.echo).toEqual([false, undefined]);
    const explained = (path: string) =>
      manage(gateway, "POST", "/explain", { method: "GET", path, caller: "proxy-key" });
    const places = [];
    for (const path of ["/proxy/bot/", "/proxy/two/"]) places.push((await explained(path)).body.credential.place);
    expect(places).toEqual([
      "header Authorization, message d.token where op is 2 or 6",
      'message credentials.0.key where type is "auth"',
    ]);
    const { body } = await manage(gateway, "GET", "/services/two");
    expect(body.config.ws).toEqual({ inject: RULE });
  });

  test("Over REST a secret may be injected only with the rule of the file, and REST_SECRETS allows every rule", async () => {
    const { gateway, upstream } = await start((baseUrl) => ({
      bound: { baseUrl, auth: TOKEN_ALONE, ws },
      header: { baseUrl, auth: { type: "bearer", tokenEnvVar: "OTHER" }, ws: true },
    }));
    const put = async (config: object, key = "mine") =>
      (await manage(gateway, "PUT", `/services/${key}`, { baseUrl: upstream.url, ...config })).status;
    const same = { inject: { match: { op: [2, 6] }, path: "d.token" } };
    expect(await put({ auth: TOKEN_ALONE, ws: same })).toBe(201);
    for (const inject of [
      { match: { op: [2, 6, 8] }, path: "d.token" },
      { match: { op: [2, 6] }, path: "d.content" },
      { path: "d.token" },
    ]) {
      expect(await put({ auth: TOKEN_ALONE, ws: { inject } })).toBe(403);
      expect(await put({ auth: TOKEN_ALONE, ws: { inject } }, "bound")).toBe(403);
    }
    const bearer = { type: "bearer", tokenEnvVar: "OTHER" };
    expect(await put({ auth: bearer, ws: true })).toBe(200);
    expect(await put({ auth: bearer, ws })).toBe(403);
    const answer = await manage(gateway, "PATCH", "/services/header", { ws });
    expect([answer.status, answer.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    const listed = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        OTHER,
        REST_SECRETS: `OTHER@${upstream.url}`,
        EGRESS_ALLOW_PRIVATE: "true",
      },
    });
    const config = { baseUrl: upstream.url, auth: bearer, ws };
    expect((await manage(listed, "PUT", "/services/mine", config)).status).toBe(201);
  });
});
