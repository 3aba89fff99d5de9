/** Changes of issued keys during a handshake or during a request whose body is still being sent. */
import { once } from "node:events";
import { createServer } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket } from "../support/raw-request.ts";

const env = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function issue(gateway: TestGateway, permissions: string[], more: object = {}) {
  const { body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions, ...more });
  return body as { id: string; key: string };
}

describe("WebSocket during its handshake", () => {
  /** An upstream that accepts a handshake when the test says so. */
  async function startSlowEcho() {
    const server = createServer();
    const webSockets = new WebSocketServer({ noServer: true });
    const waiting: (() => void)[] = [];
    server.on("upgrade", (req, socket, head) => {
      socket.on("error", () => {});
      waiting.push(() => webSockets.handleUpgrade(req, socket, head, () => {}));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      for (const client of webSockets.clients) client.terminate();
      server.close();
      server.closeAllConnections();
    });
    const { port } = server.address() as { port: number };
    return { url: `http://127.0.0.1:${port}`, waiting };
  }

  test.each([
    ["revoked", (gateway: TestGateway, id: string) => manage(gateway, "DELETE", `/keys/${id}`)],
    ["rotated", (gateway: TestGateway, id: string) => manage(gateway, "POST", `/keys/${id}/rotate`)],
    [
      "restricted to less",
      (gateway: TestGateway, id: string) => manage(gateway, "PATCH", `/keys/${id}`, { permissions: ["other:read"] }),
    ],
    [
      "renamed, then revoked",
      async (gateway: TestGateway, id: string) => {
        await manage(gateway, "PATCH", `/keys/${id}`, { name: "renamed" });
        await manage(gateway, "DELETE", `/keys/${id}`);
      },
    ],
  ])("A WebSocket is closed when its key was %s during the handshake", async (_, end) => {
    const echo = await startSlowEcho();
    const gateway = await startGateway({ env, services: { ws: { baseUrl: echo.url, ws: true } } });
    const { id, key } = await issue(gateway, ["ws:write"]);
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/ws/`, { headers: { "x-api-key": key } });
    onTestFinished(() => socket.terminate());
    await eventually(() => echo.waiting.length === 1, "the handshake to reach the upstream");
    await end(gateway, id);
    const closed = once(socket, "close");
    echo.waiting[0]?.();
    expect((await closed)[0]).toBe(1001);
  });
});

describe("change with its body still being sent", () => {
  /** Sends the head at once, and the body when the test says so. */
  async function begin(gateway: TestGateway, key: string, line: string, body: object) {
    const text = JSON.stringify(body);
    const socket = await openSocket(gateway.port);
    socket.write(
      `${line} HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${key}\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
    );
    // The request was admitted: the gateway asks for the body.
    await eventually(() => socket.received.includes("100 Continue"), "the gateway to ask for the body");
    return async () => {
      socket.write(text);
      await once(socket, "close");
      return { status: Number(/HTTP\/1\.1 (?!100)(\d+)/.exec(socket.received)?.[1]), text: socket.received };
    };
  }

  test.each([
    ["rotated", "POST", "/rotate", { graceSeconds: 1 }],
    ["changed", "PATCH", "", { name: "mine" }],
  ])("A change is refused when the key to be %s got more permissions meanwhile", async (_, method, path, body) => {
    const gateway = await startGateway({ env });
    const victim = await issue(gateway, ["api:read"]);
    const { key } = await issue(gateway, ["manage:keys", "api:read"]);
    const finish = await begin(gateway, key, `${method} /manage/keys/${victim.id}${path}`, body);
    await manage(gateway, "PATCH", `/keys/${victim.id}`, { permissions: ["*:*", "manage:*"] });
    const response = await finish();
    expect(response.status).toBe(403);
    expect(response.text).not.toContain('"key":"bp_');
    expect((await manage(gateway, "GET", `/keys/${victim.id}`)).body.name).toBe("ci");
  });

  test.each([
    ["revoked", 401, "DELETE", undefined],
    ["restricted to less", 401, "PATCH", { permissions: ["manage:keys"] }],
  ])("No key is created when its author's own key was %s meanwhile", async (_, status, method, change) => {
    const gateway = await startGateway({ env });
    const author = await issue(gateway, ["manage:keys", "api:read"]);
    const wanted = { name: "heir", permissions: ["api:read"] };
    const finish = await begin(gateway, author.key, "POST /manage/keys", wanted);
    await manage(gateway, method, `/keys/${author.id}`, change);
    const response = await finish();
    expect(response.status).toBe(status);
    expect((await manage(gateway, "GET", "/keys")).body.count).toBe(1);
  });
});

test("After many concurrent rotations one key works, and all others have ended", async () => {
  const gateway = await startGateway({ env });
  const { id, key } = await issue(gateway, ["api:read"]);
  const rotations = await Promise.all(Array.from({ length: 20 }, () => manage(gateway, "POST", `/keys/${id}/rotate`)));
  const keys = [key, ...rotations.map(({ body }) => body.key as string)];
  expect(new Set(keys).size).toBe(21);
  const works = async (each: string) =>
    (await fetch(`${gateway.url}/proxy/auth-test`, { headers: { "x-api-key": each } })).status === 200;
  const working = [];
  // Ten long-deleted keys from one address would count as guesses, so the last ones are checked first.
  for (const each of keys.reverse()) if (await works(each)) working.push(each);
  expect(working).toHaveLength(1);
});

test("A key stays revoked after changes concurrent with its revocation", async () => {
  const gateway = await startGateway({ env });
  const { id, key } = await issue(gateway, ["api:read"]);
  const change = { permissions: ["*:*"], expiresAt: null };
  await Promise.all([
    ...Array.from({ length: 5 }, () => manage(gateway, "PATCH", `/keys/${id}`, change)),
    manage(gateway, "DELETE", `/keys/${id}`),
    ...Array.from({ length: 5 }, () => manage(gateway, "PATCH", `/keys/${id}`, change)),
    ...Array.from({ length: 5 }, () => manage(gateway, "POST", `/keys/${id}/rotate`, { graceSeconds: 60 })),
  ]);
  expect((await manage(gateway, "GET", `/keys/${id}`)).body).toMatchObject({ state: "revoked", graceUntil: null });
  expect((await fetch(`${gateway.url}/proxy/auth-test`, { headers: { "x-api-key": key } })).status).toBe(401);
});
