/** The credential in messages of a WebSocket, through a gateway, with real clients and an upstream that shows what it receives. */
import { once } from "node:events";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { startWebSocketEcho, type WebSocketEcho } from "../support/websocket-echo.ts";

const SECRET = 'bot"secret-f81d4fae7dec';

let gateway: TestGateway;
let upstream: WebSocketEcho;

async function start() {
  upstream = await startWebSocketEcho();
  gateway = await startGateway({
    env: { BOT_TOKEN: SECRET, PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: {
      bot: {
        baseUrl: upstream.url,
        auth: { type: "bot", tokenEnvVar: "BOT_TOKEN" },
        ws: { inject: "discord-identify" },
      },
    },
  });
}

async function open(path = "bot/?v=10&encoding=json") {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/${path}`, { headers: { "x-api-key": PROXY_KEY } });
  await once(socket, "open");
  return socket;
}

test("The placeholder and the key of the caller are replaced in Identify and Resume", async () => {
  await start();
  const s = await open();
  s.send('{"op":2, "d":{"token":"{token}","x":1}}');
  const [m] = await once(s, "message");
  expect(String(m)).toBe(`{"op":2, "d":{"token":${JSON.stringify(SECRET)},"x":1}}`);
  s.send(`{"op":6, "d":{"token":"${PROXY_KEY}","x":1}}`);
  const [m2] = await once(s, "message");
  expect(String(m2)).toBe(`{"op":6, "d":{"token":${JSON.stringify(SECRET)},"x":1}}`);
  expect(s.extensions).toBe("");
  s.close();
});
