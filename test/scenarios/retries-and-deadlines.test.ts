/** Which requests are sent again and which never are, and how long each phase may take. */
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

/** Responds 503 this many times, then 200. */
async function startFlaky(failures: number, status = 503, headers: Record<string, string> = {}) {
  const bodies: string[] = [];
  const upstream = await startUpstream(async (req, res) => {
    bodies.push((await bodyOf(req)).toString());
    const fails = bodies.length <= failures;
    res.writeHead(fails ? status : 200, fails ? headers : {});
    res.end(fails ? "not now" : "done");
  });
  return { upstream, bodies };
}

describe("retry", () => {
  test.each(["GET", "HEAD", "OPTIONS", "DELETE"])(
    "%s is retried after 503, and the good response is relayed",
    async (method) => {
      const { upstream } = await startFlaky(2);
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      expect((await fetch(`${gateway.url}/proxy/api/`, { method })).status).toBe(200);
      expect(upstream.requests).toHaveLength(3);
      expect(gateway.exchanges()[0]).toMatchObject({ attempts: 3, outcome: "relayed" });
    },
  );

  test("A small PUT arrives complete in each attempt", async () => {
    const { upstream, bodies } = await startFlaky(2, 502);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const response = await fetch(`${gateway.url}/proxy/api/`, { method: "PUT", body: "the whole body" });
    expect(await response.text()).toBe("done");
    expect(bodies).toEqual(["the whole body", "the whole body", "the whole body"]);
  });

  test.each(["POST", "PATCH"])("%s is never retried", async (method) => {
    const { upstream } = await startFlaky(5);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`, { method, body: "x" })).status).toBe(503);
    expect(upstream.requests).toHaveLength(1);
  });

  test("A request with a streamed body is never retried, because the body is not buffered", async () => {
    const { upstream } = await startFlaky(5);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const body = Buffer.alloc(200_000);
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "PUT", body })).status).toBe(503);
    expect(upstream.requests).toHaveLength(1);
  });

  test("A POST is never replayed when its connection was lost after it was sent", async () => {
    const upstream = await startRawUpstream((socket) => socket.destroy());
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x" })).status).toBe(502);
    expect(upstream.received).toHaveLength(1);
  });

  test("A request is retried after a connection failure, and gets 502 if all attempts fail", async () => {
    let connections = 0;
    const upstream = await startRawUpstream((socket) => {
      connections++;
      if (connections < 3) socket.resetAndDestroy();
      else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect(await (await fetch(`${gateway.url}/proxy/api/`)).text()).toBe("done");
    expect(connections).toBe(3);

    const port = await freePort();
    const dead = await startGateway({ services: { api: { baseUrl: `http://127.0.0.1:${port}` } } });
    const response = await fetch(`${dead.url}/proxy/api/`);
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({
      code: "UPSTREAM_UNREACHABLE",
      message: /refused.*\(connect\)/ as unknown,
    });
    expect(dead.exchanges()[0]).toMatchObject({ attempts: 3 });
  });

  test("After the last retry the client gets the upstream's last response unchanged", async () => {
    const { upstream } = await startFlaky(9, 503, { "x-reason": "tired" });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 1 } } });
    const response = await fetch(`${gateway.url}/proxy/api/`);
    expect([response.status, response.headers.get("x-reason"), await response.text()]).toEqual([
      503,
      "tired",
      "not now",
    ]);
    expect(response.headers.get("x-proxy-error")).toBeNull();
    expect(upstream.requests).toHaveLength(2);
  });

  test("A retry waits as long as Retry-After says, and is not made if that is after the deadline", async () => {
    const soon = await startFlaky(1, 503, { "retry-after": "1" });
    const late = await startFlaky(1, 503, { "retry-after": "60" });
    const services = { soon: { baseUrl: soon.upstream.url }, late: { baseUrl: late.upstream.url } };
    const gateway = await startGateway({ services });
    const startedAt = performance.now();
    expect((await fetch(`${gateway.url}/proxy/late/`)).status).toBe(503);
    expect(performance.now() - startedAt).toBeLessThan(900);
    expect((await fetch(`${gateway.url}/proxy/soon/`)).status).toBe(200);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(1000);
  });

  test.each([
    ["Retry-After in seconds after the deadline", "60"],
    ["a Retry-After date after the deadline", new Date(Date.now() + 3_600_000).toUTCString()],
    ["an extremely large Retry-After", "99999999999999999999"],
  ])("A response with %s is not retried, and the client gets it unchanged", async (_, retryAfter) => {
    for (const status of [502, 503, 504]) {
      const { upstream } = await startFlaky(1, status, { "retry-after": retryAfter });
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      const response = await fetch(`${gateway.url}/proxy/api/`);
      expect([response.status, response.headers.get("retry-after")]).toEqual([status, retryAfter]);
      expect(upstream.requests).toHaveLength(1);
    }
  });

  test.each([
    ["a Retry-After date in the past", { "retry-after": "Thu, 01 Jan 1970 00:00:05 GMT" }],
    ["an unreadable Retry-After", { "retry-after": "soon" }],
    ["Retry-After: 0", { "retry-after": "0" }],
    ["a retry-after-ms of one millisecond", { "retry-after-ms": "1", "retry-after": "60" }],
  ])("A request is retried after %s", async (_, headers) => {
    const { upstream } = await startFlaky(1, 503, headers as unknown as Record<string, string>);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
  });

  test("500, 501 and 429 are not retried", async () => {
    for (const status of [500, 501, 429]) {
      const { upstream } = await startFlaky(1, status);
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(status);
    }
  });

  test("With retries: 0 no request is retried", async () => {
    const { upstream } = await startFlaky(1);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 0 } } });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(503);
  });
});

describe("deadline", () => {
  test("timeoutMs limits the time to the response headers, and the 504 names the limit and the setting that raises it", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 120 } } });
    const startedAt = performance.now();
    const response = await fetch(`${gateway.url}/proxy/api/`);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(119);
    expect(response.status).toBe(504);
    const body = (await response.json()) as { code: string; message: string };
    expect(body.code).toBe("UPSTREAM_TIMEOUT");
    expect(body.message).toMatch(/120 ms.*timeoutMs or NETWORK_TIMEOUT/);
    await eventually(() => upstream.sockets.size === 0, "the upstream's request to be dropped");
  });

  test("timeoutMs covers all attempts and the back-off between them", async () => {
    const upstream = await startUpstream((_, res) => setTimeout(() => res.writeHead(503).end(), 60));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 200, retries: 10 } } });
    const startedAt = performance.now();
    const response = await fetch(`${gateway.url}/proxy/api/`);
    expect([503, 504]).toContain(response.status);
    expect(performance.now() - startedAt).toBeLessThan(400);
  });

  test("timeoutMs ends an exchange that is in the pause before a retry", async () => {
    const seen = new Set<string | undefined>();
    // The 503 comes so late that the second attempt, which gets no response, starts less than a timer's precision before the deadline.
    const upstream = await startUpstream((req, res) => {
      if (seen.has(req.url)) return;
      seen.add(req.url);
      setTimeout(() => res.writeHead(503, { "retry-after": "1" }).end(), 92 + Math.random() * 8);
    });
    const service = { baseUrl: upstream.url, timeoutMs: 1100, breaker: false as const };
    const gateway = await startGateway({ services: { api: service } });
    const sendRequest = async (_: unknown, i: number) => {
      await new Promise((resolve) => setTimeout(resolve, i));
      const bytes = `GET /proxy/api/${i} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      return (await rawRequest(gateway.port, bytes, { withinMs: 8_000 })).status;
    };
    const statuses = await Promise.all(Array.from({ length: 300 }, sendRequest));
    expect(statuses.filter((status) => status !== 503 && status !== 504)).toEqual([]);
  });

  test("connectTimeoutMs limits the time to connect, with the TLS handshake, with a precision of milliseconds", async () => {
    const silent = await startRawUpstream(() => {});
    const service = { baseUrl: `https://127.0.0.1:${silent.port}`, connectTimeoutMs: 100, retries: 0 };
    const gateway = await startGateway({ services: { api: service } });
    const startedAt = performance.now();
    const response = await fetch(`${gateway.url}/proxy/api/`);
    expect(performance.now() - startedAt).toBeLessThan(400);
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      code: "UPSTREAM_TIMEOUT",
      message: expect.stringMatching(/100 ms \(connect\); connectTimeoutMs/),
    });
    await eventually(() => silent.sockets.size === 0);
  });

  test("idleTimeoutMs cuts a response body that falls silent", async () => {
    const upstream = await startUpstream((_, res) => res.write("some"));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleTimeoutMs: 100 } } });
    const response = await rawRequest(gateway.port, "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(response.body).toBe("4\r\nsome\r\n");
    expect(response.end).not.toBe("open");
  });

  test("An upload may pause for longer than timeoutMs, because the client causes that silence", async () => {
    const upstream = await startUpstream(async (req, res) => {
      res.end(String((await bodyOf(req)).length));
    });
    const services = { api: { baseUrl: upstream.url, timeoutMs: 100, idleTimeoutMs: 2_000 } };
    const gateway = await startGateway({ services });
    const client = await openSocket(gateway.port);
    client.write("POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    await new Promise((resolve) => setTimeout(resolve, 300));
    client.write("cd");
    await eventually(() => client.received.endsWith("4") || client.received.includes("\r\n4\r\n"));
    expect(client.received).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("An upload that never continues gets 408, streamed or buffered", async () => {
    const upstream = await startUpstream((req) => req.resume());
    const services = { api: { baseUrl: upstream.url, timeoutMs: 50, idleTimeoutMs: 120 } };
    const gateway = await startGateway({ services });
    for (const method of ["POST", "PUT"]) {
      const bytes = `${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab`;
      const response = await rawRequest(gateway.port, bytes, { until: "REQUEST_TIMEOUT" });
      expect(response.status).toBe(408);
    }
  });

  test("An upload that the upstream no longer reads gets 504", async () => {
    const upstream = await startRawUpstream((socket) => socket.pause());
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 250 } } });
    const client = await openSocket(gateway.port);
    client.write(`POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
    const chunk = Buffer.alloc(1024 * 1024);
    const pump = () => {
      while (client.writable && client.write(chunk));
    };
    client.on("drain", pump);
    pump();
    await eventually(() => client.received.includes("UPSTREAM_TIMEOUT"));
    expect(client.received).toMatch(/^HTTP\/1\.1 504 /);
  });
});

describe("maxBodyBytes", () => {
  test("maxBodyBytes refuses a body with a larger announced length before anything is sent", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxBodyBytes: 10 } } });
    const response = await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x".repeat(11) });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    expect(upstream.requests).toEqual([]);
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x".repeat(10) })).status).toBe(200);
  });

  test("maxBodyBytes stops a chunked body that grows larger, and the upstream never receives its end", async () => {
    let ended = false;
    const upstream = await startUpstream((req) => {
      req.resume();
      req.on("end", () => {
        ended = true;
      });
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxBodyBytes: 10 } } });
    const head = "POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    const response = await rawRequest(gateway.port, `${head}8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n`);
    expect(response.status).toBe(413);
    expect(ended).toBe(false);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test.each([
  ["POST", "false"],
  ["GET", null],
])(
  "A %s that timed out at the upstream tells SDKs not to send it again, unless that is safe",
  async (method, value) => {
    const upstream = await startRawUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 50, retries: 0 } } });
    const response = await fetch(`${gateway.url}/proxy/api/`, { method });
    expect([response.status, response.headers.get("x-should-retry")]).toEqual([504, value]);
  },
);
