/** How long connections to an upstream are kept. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";

const RESPONSE = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";

/** An upstream that never closes an idle connection itself. @param fields further header lines of each response. */
function startPatientUpstream(fields = "") {
  return startRawUpstream((socket, received) => {
    if (received.endsWith("\r\n\r\n")) socket.write(`${RESPONSE}${fields}\r\nok`);
  });
}

async function get(url: string): Promise<number> {
  const response = await fetch(`${url}/proxy/api/x`);
  await response.text();
  return response.status;
}

describe("connection to an upstream", () => {
  test("An idle connection is reused", async () => {
    const upstream = await startPatientUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    for (let i = 0; i < 3; i++) expect(await get(gateway.url)).toBe(200);
    expect(upstream.received).toHaveLength(1);
  });

  test("An idle connection is closed after idleConnectionMs", async () => {
    const upstream = await startPatientUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleConnectionMs: 100 } } });
    expect(await get(gateway.url)).toBe(200);
    expect(upstream.sockets.size).toBe(1);
    await eventually(() => upstream.sockets.size === 0, "the end of the idle connection");
    expect(await get(gateway.url)).toBe(200);
    expect(upstream.received).toHaveLength(2);
  });

  test("An idle connection is closed before the upstream's Keep-Alive timeout ends", async () => {
    const upstream = await startPatientUpstream("Keep-Alive: timeout=2\r\n");
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const startedAt = performance.now();
    expect(await get(gateway.url)).toBe(200);
    await eventually(() => upstream.sockets.size === 0, "the end of the idle connection");
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test("An upstream's longer Keep-Alive timeout does not lengthen idleConnectionMs", async () => {
    const upstream = await startPatientUpstream("Keep-Alive: timeout=600\r\n");
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleConnectionMs: 100 } } });
    expect(await get(gateway.url)).toBe(200);
    await eventually(() => upstream.sockets.size === 0, "the end of the idle connection");
  });

  test("After maxConnectionAgeMs a connection takes no new request, and no request fails by that", async () => {
    const upstream = await startUpstream();
    const service = { baseUrl: upstream.url, maxConnectionAgeMs: 50 };
    const gateway = await startGateway({ services: { api: service } });
    const ports = new Set<number>();
    const statuses = new Set<number>();
    await eventually(async () => {
      statuses.add(await get(gateway.url));
      for (const { remotePort } of upstream.sockets) ports.add(remotePort as number);
      return ports.size >= 4;
    }, "four connections, one after another");
    expect([...statuses]).toEqual([200]);
    expect(upstream.sockets.size).toBeLessThanOrEqual(2);
  });

  test("A request in flight is not cut by maxConnectionAgeMs", async () => {
    const upstream = await startUpstream((req, res) => {
      req.resume();
      res.write("a");
      setTimeout(() => res.end("b"), 200);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxConnectionAgeMs: 20 } } });
    const response = await fetch(`${gateway.url}/proxy/api/x`);
    expect(await response.text()).toBe("ab");
    await eventually(() => upstream.sockets.size === 0, "the end of the old connection");
  });

  test("A connection that expired while it was idle is not used, and its slot is free", async () => {
    const upstream = await startPatientUpstream();
    const service = { baseUrl: upstream.url, maxConnections: 1, maxConnectionAgeMs: 50 };
    const gateway = await startGateway({ services: { api: service } });
    expect(await get(gateway.url)).toBe(200);
    const usedAt = performance.now();
    await eventually(() => performance.now() - usedAt > 50, "the age limit of the connection");
    expect(await get(gateway.url)).toBe(200);
    expect(upstream.received).toHaveLength(2);
    await eventually(() => upstream.sockets.size === 1, "the end of the old connection");
  });
});
