/** What is sent again and what never is, and how long anything may take. */
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

/** Answers 503 so many times, then 200. */
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

describe("a retry", () => {
  test.each(["GET", "HEAD", "OPTIONS", "DELETE"])(
    "is made for %s after 503, and the good answer is relayed",
    async (method) => {
      const { upstream } = await startFlaky(2);
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      expect((await fetch(`${gateway.url}/proxy/api/`, { method })).status).toBe(200);
      expect(upstream.requests).toHaveLength(3);
      expect(gateway.exchanges()[0]).toMatchObject({ attempts: 3, outcome: "relayed" });
    },
  );

  test("carries the same bytes: a small PUT arrives whole each time", async () => {
    const { upstream, bodies } = await startFlaky(2, 502);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const answer = await fetch(`${gateway.url}/proxy/api/`, { method: "PUT", body: "the whole body" });
    expect(await answer.text()).toBe("done");
    expect(bodies).toEqual(["the whole body", "the whole body", "the whole body"]);
  });

  test.each(["POST", "PATCH"])("is never made for %s", async (method) => {
    const { upstream } = await startFlaky(5);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`, { method, body: "x" })).status).toBe(503);
    expect(upstream.requests).toHaveLength(1);
  });

  test("is never made for a body that streams, since it is no longer in hand", async () => {
    const { upstream } = await startFlaky(5);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const body = Buffer.alloc(200_000);
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "PUT", body })).status).toBe(503);
    expect(upstream.requests).toHaveLength(1);
  });

  test("is never made of a POST whose connection was lost after it was written", async () => {
    const upstream = await startRawUpstream((socket) => socket.destroy());
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x" })).status).toBe(502);
    expect(upstream.received).toHaveLength(1);
  });

  test("is made after a connection that failed, and a connection failure of all is 502", async () => {
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
    const answer = await fetch(`${dead.url}/proxy/api/`);
    expect(answer.status).toBe(502);
    expect(await answer.json()).toMatchObject({
      code: "UPSTREAM_UNREACHABLE",
      message: /refused.*\(connect\)/ as unknown,
    });
    expect(dead.exchanges()[0]).toMatchObject({ attempts: 3 });
  });

  test("ends with the upstream's own last answer, as it is", async () => {
    const { upstream } = await startFlaky(9, 503, { "x-reason": "tired" });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 1 } } });
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    expect([answer.status, answer.headers.get("x-reason"), await answer.text()]).toEqual([503, "tired", "not now"]);
    expect(answer.headers.get("x-proxy-error")).toBeNull();
    expect(upstream.requests).toHaveLength(2);
  });

  test("waits as long as Retry-After asks, and is not made when that is beyond the deadline", async () => {
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
    ["seconds beyond the deadline", "60"],
    ["a date beyond the deadline", new Date(Date.now() + 3_600_000).toUTCString()],
    ["absurdly many seconds", "99999999999999999999"],
  ])("is not made for %s, and the client gets them as they were sent", async (_, asked) => {
    for (const status of [502, 503, 504]) {
      const { upstream } = await startFlaky(1, status, { "retry-after": asked });
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      const answer = await fetch(`${gateway.url}/proxy/api/`);
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([status, asked]);
      expect(upstream.requests).toHaveLength(1);
    }
  });

  test.each([
    ["a date that is past", { "retry-after": "Thu, 01 Jan 1970 00:00:05 GMT" }],
    ["what nobody can read", { "retry-after": "soon" }],
    ["no time at all", { "retry-after": "0" }],
    ["milliseconds", { "retry-after-ms": "1", "retry-after": "60" }],
  ])("is made after %s", async (_, headers) => {
    const { upstream } = await startFlaky(1, 503, headers as unknown as Record<string, string>);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(200);
  });

  test("is not made for 500, 501 and 429", async () => {
    for (const status of [500, 501, 429]) {
      const { upstream } = await startFlaky(1, status);
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(status);
    }
  });

  test("is not made when retries is 0", async () => {
    const { upstream } = await startFlaky(1);
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, retries: 0 } } });
    expect((await fetch(`${gateway.url}/proxy/api/`)).status).toBe(503);
  });
});

describe("a deadline", () => {
  test("holds the time to the answer's headers, and the 504 says which one and what raises it", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 120 } } });
    const startedAt = performance.now();
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(119);
    expect(answer.status).toBe(504);
    const body = (await answer.json()) as { code: string; message: string };
    expect(body.code).toBe("UPSTREAM_TIMEOUT");
    expect(body.message).toMatch(/120 ms.*timeoutMs or NETWORK_TIMEOUT/);
    await eventually(() => upstream.sockets.size === 0, "the upstream's request to be dropped");
  });

  test("covers all attempts and the back-off between them", async () => {
    const upstream = await startUpstream((_, res) => setTimeout(() => res.writeHead(503).end(), 60));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, timeoutMs: 200, retries: 10 } } });
    const startedAt = performance.now();
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    expect([503, 504]).toContain(answer.status);
    expect(performance.now() - startedAt).toBeLessThan(400);
  });

  test("ends every exchange, also where it falls into the pause before a retry", async () => {
    const asked = new Set<string | undefined>();
    // 503 just so early that the second attempt, which is never answered, fits in by less than a timer's precision.
    const upstream = await startUpstream((req, res) => {
      if (asked.has(req.url)) return;
      asked.add(req.url);
      setTimeout(() => res.writeHead(503, { "retry-after": "1" }).end(), 92 + Math.random() * 8);
    });
    const service = { baseUrl: upstream.url, timeoutMs: 1100, breaker: false as const };
    const gateway = await startGateway({ services: { api: service } });
    const ask = async (_: unknown, i: number) => {
      await new Promise((resolve) => setTimeout(resolve, i));
      const bytes = `GET /proxy/api/${i} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      return (await rawRequest(gateway.port, bytes, { withinMs: 3_000 })).status;
    };
    const statuses = await Promise.all(Array.from({ length: 300 }, ask));
    expect(statuses.filter((status) => status !== 503 && status !== 504)).toEqual([]);
  });

  test("holds the time to connect, TLS handshake included, to the millisecond rather than the second", async () => {
    const silent = await startRawUpstream(() => {});
    const service = { baseUrl: `https://127.0.0.1:${silent.port}`, connectTimeoutMs: 100, retries: 0 };
    const gateway = await startGateway({ services: { api: service } });
    const startedAt = performance.now();
    const answer = await fetch(`${gateway.url}/proxy/api/`);
    expect(performance.now() - startedAt).toBeLessThan(400);
    expect(answer.status).toBe(504);
    expect(await answer.json()).toMatchObject({
      code: "UPSTREAM_TIMEOUT",
      message: expect.stringMatching(/100 ms \(connect\); connectTimeoutMs/),
    });
    await eventually(() => silent.sockets.size === 0);
  });

  test("cuts a body that falls silent", async () => {
    const upstream = await startUpstream((_, res) => res.write("some"));
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, idleTimeoutMs: 100 } } });
    const answer = await rawRequest(gateway.port, "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(answer.body).toBe("4\r\nsome\r\n");
    expect(answer.end).not.toBe("open");
  });

  test("lets an upload pause for longer than timeoutMs, since that silence is the client's", async () => {
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

  test("ends an upload that never goes on with 408, streamed or taken in hand", async () => {
    const upstream = await startUpstream((req) => req.resume());
    const services = { api: { baseUrl: upstream.url, timeoutMs: 50, idleTimeoutMs: 120 } };
    const gateway = await startGateway({ services });
    for (const method of ["POST", "PUT"]) {
      const bytes = `${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab`;
      const answer = await rawRequest(gateway.port, bytes, { until: "REQUEST_TIMEOUT" });
      expect(answer.status).toBe(408);
    }
  });

  test("ends an upload that the upstream no longer reads with 504", async () => {
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
  test("refuses an announced body before anything is sent", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxBodyBytes: 10 } } });
    const answer = await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x".repeat(11) });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    expect(upstream.requests).toEqual([]);
    expect((await fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: "x".repeat(10) })).status).toBe(200);
  });

  test("stops a chunked body where it grows beyond, and the upstream never sees its end", async () => {
    let ended = false;
    const upstream = await startUpstream((req) => {
      req.resume();
      req.on("end", () => {
        ended = true;
      });
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, maxBodyBytes: 10 } } });
    const head = "POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    const answer = await rawRequest(gateway.port, `${head}8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n`);
    expect(answer.status).toBe(413);
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
