/** Gateways that point to themselves: 508 by `Via`, on both planes, before a second pass. */
import { connect, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const service = (baseUrl: string) => ({
  baseUrl,
  auth: { type: "bearer", tokenEnvVar: "TOKEN" } as const,
  retries: 0,
});

/** A port that can be configured before its server listens. */
async function startDetour() {
  let target = 0;
  const server = createServer((socket) => {
    const onward = connect(target, "127.0.0.1");
    for (const each of [socket, onward]) each.on("error", () => {});
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
  });
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, leadTo: (to: number) => (target = to) };
}

test("A service that points to its own gateway gets 508 after one pass", async () => {
  const detour = await startDetour();
  const gateway = await startGateway({
    env: { ...KEYS, TOKEN: "some-token-0123456" },
    services: { self: service(`${detour.url}/proxy/self`) },
  });
  detour.leadTo(gateway.port);
  const response = await fetch(`${gateway.url}/proxy/self/x`, { headers: { "x-api-key": PROXY_KEY } });
  expect(response.status).toBe(508);
  expect(await response.json()).toMatchObject({ code: "LOOP_DETECTED" });
  expect(gateway.exchanges()).toHaveLength(2);
});

test("Two gateways that point to each other get 508 where the loop closes", async () => {
  const detour = await startDetour();
  const [keyOfA, keyOfB] = ["key-of-gateway-a-0123", "key-of-gateway-b-0123"];
  const a = await startGateway({
    env: { PROXY_API_KEY: keyOfA, TOKEN: keyOfB },
    services: { other: service(`${detour.url}/proxy/other`) },
  });
  const b = await startGateway({
    env: { PROXY_API_KEY: keyOfB, TOKEN: keyOfA },
    services: { other: service(`${a.url}/proxy/other`) },
  });
  detour.leadTo(b.port);
  const response = await fetch(`${a.url}/proxy/other/x`, { headers: { "x-api-key": keyOfA } });
  expect(response.status).toBe(508);
  expect(a.exchanges().map(({ status }) => status)).toEqual([508, 508]);
  expect(b.exchanges()).toHaveLength(1);
});

test("A service that points to the control plane of its own gateway gets 508 too, on every route", async () => {
  const detour = await startDetour();
  const gateway = await startGateway({
    env: { ...KEYS, TOKEN: "some-token-0123456" },
    services: { self: service(`${detour.url}/`) },
  });
  detour.leadTo(gateway.port);
  for (const path of ["health", "manage/services", "proxy/services", "nope"]) {
    const response = await fetch(`${gateway.url}/proxy/self/${path}`, { headers: { "x-api-key": PROXY_KEY } });
    expect(response.status).toBe(508);
  }
});
