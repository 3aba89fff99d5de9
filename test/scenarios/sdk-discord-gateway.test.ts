/** Discord's own client for its gateway, with only URL and token changed, against a stand-in for the gateway's handshake. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { REST } from "@discordjs/rest";
import { CloseCodes, type SessionInfo, WebSocketManager, WebSocketShardEvents } from "@discordjs/ws";
import { expect, onTestFinished, test } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { fillRecipe, readRecipe } from "../../src/config/recipes.ts";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";

const TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";
const SESSION = "session-1";

interface Payload {
  readonly op: number;
  readonly d: { readonly token?: string; readonly session_id?: string };
}

/** Hello, Identify, Ready, Resume and Resumed: https://docs.discord.com/developers/events/gateway. */
async function startDiscord() {
  const limit = { total: 1_000, remaining: 1_000, reset_after: 0, max_concurrency: 1 };
  const http = createServer((req, res) => {
    const isBot = req.url === "/api/v10/gateway/bot" && req.headers.authorization === `Bot ${TOKEN}`;
    const body = { url: "wss://gateway.discord.gg", shards: 1, session_start_limit: limit };
    res.writeHead(isBot ? 200 : 401, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  const server = new WebSocketServer({ server: http });
  const urls: string[] = [];
  const payloads: Payload[] = [];
  server.on("connection", (socket, { url = "" }) => {
    urls.push(url);
    const send = (payload: object) => socket.send(JSON.stringify(payload));
    socket.on("message", (data) => {
      const payload = JSON.parse(String(data)) as Payload;
      payloads.push(payload);
      respond(socket, payload, send);
    });
    send({ op: 10, d: { heartbeat_interval: 45_000 }, s: null, t: null });
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const client of server.clients) client.terminate();
    http.close();
  });
  const port = (http.address() as AddressInfo).port;
  return { url: `http://127.0.0.1:${port}`, server, urls, payloads };
}

function respond(socket: WebSocket, { op, d }: Payload, send: (payload: object) => void): void {
  if (op === 1) return send({ op: 11 });
  if (op !== 2 && op !== 6) return;
  // Authentication failed.
  if (d.token !== TOKEN) return socket.close(4004);
  const ready = { v: 10, session_id: SESSION, resume_gateway_url: "wss://gateway-us-east1-b.discord.gg", user: {} };
  if (op === 2) send({ op: 0, t: "READY", s: 1, d: ready });
  else if (d.session_id === SESSION) send({ op: 0, t: "RESUMED", s: 2, d: {} });
}

/** @param secret of the service for WebSockets. */
async function start(secret: string) {
  const discord = await startDiscord();
  const filled = fillRecipe(readRecipe("discord-gateway"), { inputs: new Map() });
  if ("problems" in filled) throw new Error(filled.problems.join());
  const gateway = await startGateway({
    env: { DISCORD_TOKEN: secret, REST_TOKEN: TOKEN, PROXY_API_KEY: PROXY_KEY },
    services: {
      "discord-gateway": { ...filled.service, baseUrl: discord.url },
      discord: { baseUrl: discord.url, auth: { type: "bot", tokenEnvVar: "REST_TOKEN" } },
    },
  });
  const url = `ws://bot:${PROXY_KEY}@127.0.0.1:${gateway.port}/proxy/discord-gateway/`;
  const rest = new REST({ api: `${gateway.url}/proxy/discord/api` }).setToken(PROXY_KEY);
  const get = rest.get.bind(rest);
  rest.get = async (route, options) => {
    const body = await get(route, options);
    return route === "/gateway/bot" ? { ...(body as object), url } : body;
  };
  const sessions = new Map<number, SessionInfo | null>();
  const manager = new WebSocketManager({
    token: PROXY_KEY,
    intents: 0,
    rest,
    retrieveSessionInfo: (shard) => sessions.get(shard) ?? null,
    updateSessionInfo: (shard, info) => {
      sessions.set(shard, info && { ...info, resumeURL: url });
    },
  });
  const events: string[] = [];
  for (const name of [WebSocketShardEvents.Ready, WebSocketShardEvents.Resumed]) {
    manager.on(name, () => events.push(name));
  }
  manager.on(WebSocketShardEvents.Error, (error) => events.push(error.message));
  onTestFinished(() => manager.destroy({ code: CloseCodes.Normal }));
  return { discord, gateway, manager, events };
}

test("Discord's client identifies, resumes on the same and on another connection, and never receives the bot's token", async () => {
  const { discord, gateway, manager, events } = await start(TOKEN);
  await manager.connect();
  await eventually(() => events.includes("ready"));
  expect(discord.urls).toEqual(["/?v=10&encoding=json"]);

  const [first] = discord.server.clients;
  first?.send(JSON.stringify({ op: 9, d: true }));
  await eventually(() => events.filter((name) => name === "resumed").length === 1);
  first?.close(4000);
  await eventually(() => events.filter((name) => name === "resumed").length === 2, "the second Resume", 5_000);
  expect(discord.urls).toHaveLength(2);

  const sent = discord.payloads.filter(({ op }) => op === 2 || op === 6);
  expect(sent.map(({ op, d }) => [op, d.token])).toEqual([
    [2, TOKEN],
    [6, TOKEN],
    [6, TOKEN],
  ]);
  expect(JSON.stringify(discord.payloads)).not.toContain(PROXY_KEY);
  expect(gateway.logText()).not.toContain(TOKEN);
});

test("Discord's refusal of a wrong token reaches its client as close code 4004", async () => {
  const { discord, manager, events } = await start("a-wrong-token-0123456789");
  const connected = manager.connect().then(
    () => "connected",
    () => "failed",
  );
  await eventually(() => events.length > 0);
  expect(events[0]).toMatch(/authentication failed/i);
  expect(discord.payloads[0]?.d.token).toBe("a-wrong-token-0123456789");
  void connected;
});
