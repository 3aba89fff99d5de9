/** The end of a gateway: requests in flight are finished, and idle connections do not delay it. */
import { Agent, request } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

test("A connection that has sent nothing does not delay the end and does not count as cut", async () => {
  const gateway = await startGateway();
  const client = await openSocket(gateway.port);
  const startedAt = performance.now();
  expect(await gateway.drain(0, 5_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  await eventually(() => client.destroyed);
});

test("An incomplete head delays the end only until it is complete, and does not count as cut", async () => {
  const gateway = await startGateway();
  const [half, arriving] = [await openSocket(gateway.port), await openSocket(gateway.port)];
  for (const client of [half, arriving]) client.write("GET /health HTTP/1.1\r\nHost: local");
  const drained = gateway.drain(50, 8_000);
  setTimeout(() => arriving.write("host\r\n\r\n"), 200);
  const startedAt = performance.now();
  expect(await drained).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  await eventually(() => half.destroyed);
  expect(arriving.received).toMatch(/^HTTP\/1\.1 200 /);
});

test("An idle connection that was used before is closed at once", async () => {
  const gateway = await startGateway();
  const client = await openSocket(gateway.port);
  client.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => client.received.includes('"ok"'));
  const startedAt = performance.now();
  expect(await gateway.drain(0, 5_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

test("Both planes send Connection: close while the gateway drains", async () => {
  const gateway = await startGateway({ env: { CORS_ORIGINS: "https://page.example" } });
  // Long enough for all of these requests on a busy machine.
  const drained = gateway.drain(1_500, 1_000);
  for (const path of ["/health", "/health/ready", "/nowhere", "/proxy/echo/", "/proxy/nowhere/"]) {
    const answer = await rawRequest(gateway.port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(answer.head).toMatch(/^Connection: close$/im);
    expect(answer.end).toBe("fin");
  }
  const preflight = "Host: localhost\r\nOrigin: https://page.example\r\nAccess-Control-Request-Method: GET\r\n\r\n";
  for (const path of ["/health", "/proxy/echo/"]) {
    const answer = await rawRequest(gateway.port, `OPTIONS ${path} HTTP/1.1\r\n${preflight}`);
    expect([answer.status, answer.end]).toEqual([204, "fin"]);
    expect(answer.head).toMatch(/^Connection: close$/im);
  }
  expect(await drained).toBe(0);
});

test("An upload and a response in flight are finished, and counted if they have to be cut", async () => {
  const upstream = await startUpstream((req, res) => {
    req.on("data", () => {});
    req.on("end", () => res.end("taken"));
  });
  for (const finishes of [true, false]) {
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write("POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    await eventually(() => upstream.sockets.size > 0);
    const drained = gateway.drain(0, finishes ? 3_000 : 100);
    if (finishes) client.write("cd");
    expect(await drained).toBe(finishes ? 0 : 1);
    expect(client.received.includes("taken")).toBe(finishes);
  }
});

test("A request that began before the drain gets Connection: close if its response headers are sent later", async () => {
  let answer = () => {};
  const upstream = await startUpstream((_, res) => {
    answer = () => res.end("late");
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => upstream.requests.length === 1);
  const drained = gateway.drain(50, 2_000);
  answer();
  await eventually(() => client.received.includes("late"));
  expect(client.received).toMatch(/^connection: close\r$/im);
  expect(await drained).toBe(0);
});

test("A long response reaches a slow client completely, although the upstream finished long before", async () => {
  const size = 6_000_000;
  const upstream = await startUpstream((_, res) => res.end("x".repeat(size)));
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.pause();
  client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => upstream.requests.length === 1);
  const drained = gateway.drain(0, 8_000);
  const slowly = setInterval(() => {
    client.resume();
    setTimeout(() => client.pause(), 2);
  }, 30);
  await eventually(() => client.received.length > size, "the whole answer", 8_000);
  clearInterval(slowly);
  client.resume();
  expect(await drained).toBe(0);
  expect(client.received.length - client.received.indexOf("\r\n\r\n") - 4).toBe(size);
});

test("An event stream continues until the time is over, then it is cut and counted", async () => {
  let send: ((text: string) => void) | undefined;
  const upstream = await startUpstream((_, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    send = (text) => res.write(`data: ${text}\n\n`);
    send("first");
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => client.received.includes("first"));
  const drained = gateway.drain(20, 400);
  await expect(fetch(`${gateway.url}/health/ready`).then((answer) => answer.status)).resolves.toBe(503);
  await eventually(async () => (await fetch(`${gateway.url}/health`).catch(() => "closed")) === "closed");
  send?.("second");
  await eventually(() => client.received.includes("second"));
  expect(await drained).toBe(1);
  expect(client.received).not.toContain("0\r\n\r\n");
});

/** As a balancer sees it: it checks readiness, reuses connections as long as it may, and moves to another instance. */
test("Twenty instances end one after another under load, and no request fails", async () => {
  const upstream = await startUpstream((_, res) => setTimeout(() => res.end("ok"), 5));
  const open = () => startGateway({ services: { api: { baseUrl: upstream.url } } });
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  let current = await open();
  let isOver = false;
  const failures: unknown[] = [];
  let served = 0;
  const work = async () => {
    while (!isOver) {
      try {
        const { status, text } = await ask(agent, `${current.url}/proxy/api/`);
        if (status !== 200 || text !== "ok") failures.push(status);
        served++;
      } catch (error) {
        failures.push(error);
      }
    }
  };
  const workers = Array.from({ length: 8 }, work);
  for (let cycle = 0; cycle < 20; cycle++) {
    const next = await open();
    const ending = current;
    // Clients and both instances share this event loop: if it is held for as long as the delay, a request in flight fails.
    const drained = ending.drain(400, 5_000);
    await eventually(async () => (await ask(agent, `${ending.url}/health/ready`)).status === 503);
    current = next;
    expect(await drained).toBe(0);
  }
  isOver = true;
  await Promise.all(workers);
  expect(failures).toEqual([]);
  expect(served).toBeGreaterThan(500);
}, 30_000);

/** Without a balancer: these clients connect until the listener is closed. */
test("A client that connects while the listener closes is served or refused, and its connection is never reset", async () => {
  const upstream = await startUpstream((_, res) => setTimeout(() => res.end("ok"), 2));
  const failures: unknown[] = [];
  for (let cycle = 0; cycle < 5; cycle++) {
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    let served = 0;
    const come = async (agent: Agent) => {
      for (;;) {
        try {
          const { status } = await ask(agent, `${gateway.url}/proxy/api/`);
          if (status === 200) served++;
          else failures.push(status);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") return;
          failures.push(error);
        }
      }
    };
    const [keeping, fresh] = [new Agent({ keepAlive: true }), new Agent({ keepAlive: false })];
    const clients = Array.from({ length: 24 }, (_, i) => come(i % 2 === 0 ? keeping : fresh));
    await eventually(() => served > 100);
    expect(await gateway.drain(100, 5_000)).toBe(0);
    await Promise.all(clients);
    keeping.destroy();
  }
  expect(failures).toEqual([]);
}, 30_000);

function ask(agent: Agent, url: string): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request(url, { agent }, (res) => {
      let text = "";
      res.on("data", (chunk) => {
        text += chunk;
      });
      res.on("end", () => resolve({ status: res.statusCode, text }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end();
  });
}

test("A request that waits for its next attempt is refused because the gateway ends, and does not delay the end", async () => {
  const upstream = await startUpstream((_, res) => res.writeHead(503, { "Retry-After": "20" }).end());
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const asked = fetch(`${gateway.url}/proxy/api/`);
  await eventually(() => upstream.requests.length === 1);
  const drained = gateway.drain(0, 500);
  const answer = await asked;
  const { code } = (await answer.json()) as { code: string };
  expect([answer.status, code, await drained]).toEqual([503, "SHUTTING_DOWN", 0]);
  expect(upstream.requests).toHaveLength(1);
});
