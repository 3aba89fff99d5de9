/** MANAGEMENT_PORT: operators' routes on their own listener, and on no other. */
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";

const env = { MANAGEMENT_PORT: "0", MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY };
const headers = { "x-api-key": MANAGEMENT_KEY };

describe("MANAGEMENT_PORT", () => {
  test("Operators' routes are only on the second listener, callers' only on the first, health on both", async () => {
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
    for (const path of [
      "/",
      "/health",
      "/health/live",
      "/health/liveness",
      "/health/ready",
      "/health/readiness",
      "/up",
      "/version",
      "/auth-status",
    ]) {
      expect([path, await status(url, path), await status(managementUrl, path)]).toEqual([path, 200, 200]);
    }
    // Protected by the key there, and unknown here.
    expect((await fetch(`${managementUrl}/manage/services`)).status).toBe(401);
    expect((await fetch(`${url}/manage/services`)).status).toBe(404);
  });

  test("The management listener accepts no WebSocket", async () => {
    const { managementUrl } = await startGateway({ env });
    const socket = new WebSocket(`${managementUrl?.replace("http", "ws")}/proxy/echo/`);
    const end = await new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("error");
    });
    expect(end).toBe("error");
  });

  test("Both listeners report that they drain, and both end", async () => {
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

  test("A management port in use ends the start and leaves the other port free", async () => {
    const first = await startGateway({ env });
    const port = new URL(first.managementUrl as string).port;
    await expect(startGateway({ env: { ...env, MANAGEMENT_PORT: port } })).rejects.toMatchObject({
      code: "EADDRINUSE",
      port: Number(port),
    });
  });
});
