/** MANAGEMENT_PORT: operators' routes on a listener of their own, and nowhere else. */
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";

const env = { MANAGEMENT_PORT: "0", MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY };
const headers = { "x-api-key": MANAGEMENT_KEY };

describe("with MANAGEMENT_PORT", () => {
  test("operators' routes answer only there, callers' only on the other one, health on both", async () => {
    const { url, managementUrl } = await startGateway({ env });
    expect(managementUrl).toBeDefined();
    expect(managementUrl).not.toBe(url);
    const status = async (base: string | undefined, path: string) =>
      (await fetch(`${base}${path}`, { headers: path.startsWith("/proxy") ? { "x-api-key": PROXY_KEY } : headers }))
        .status;
    for (const path of ["/status", "/metrics"]) {
      expect([path, await status(url, path), await status(managementUrl, path)]).toEqual([path, 404, 200]);
    }
    for (const path of ["/proxy/echo/x", "/proxy/services", "/proxy/auth-test"]) {
      expect([path, await status(url, path), await status(managementUrl, path)]).toEqual([path, 200, 404]);
    }
    for (const path of ["/", "/health", "/health/live", "/health/ready", "/up", "/version", "/auth-status"]) {
      expect([path, await status(url, path), await status(managementUrl, path)]).toEqual([path, 200, 200]);
    }
    // Behind the key there, and not even a question of keys here.
    expect((await fetch(`${managementUrl}/manage/services`)).status).toBe(401);
    expect((await fetch(`${url}/manage/services`)).status).toBe(404);
  });

  test("a WebSocket on it leads nowhere", async () => {
    const { managementUrl } = await startGateway({ env });
    const socket = new WebSocket(`${managementUrl?.replace("http", "ws")}/proxy/echo/`);
    const end = await new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("error");
    });
    expect(end).toBe("error");
  });

  test("both say that they drain, and both end", async () => {
    const gateway = await startGateway({ env });
    const drained = gateway.drain(300, 1_000);
    for (const base of [gateway.url, gateway.managementUrl]) {
      await eventually(async () => (await fetch(`${base}/health/ready`)).status === 503);
    }
    expect(await drained).toBe(0);
    for (const base of [gateway.url, gateway.managementUrl]) {
      await expect(fetch(`${base}/health`)).rejects.toThrow();
    }
  });

  test("its port in use ends the start, and leaves the other one free", async () => {
    const first = await startGateway({ env });
    const port = new URL(first.managementUrl as string).port;
    await expect(startGateway({ env: { ...env, MANAGEMENT_PORT: port } })).rejects.toMatchObject({
      code: "EADDRINUSE",
      port: Number(port),
    });
  });
});
