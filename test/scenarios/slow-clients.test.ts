/** Clients that are slow on purpose must not delay other clients. Each limit is scaled down. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { describe, expect, test } from "vitest";
import { ANONYMOUS } from "../../src/callers/callers.ts";
import { readJson } from "../../src/control-plane/manage/read-json.ts";
import type { GatewayError } from "../../src/errors.ts";
import { discardRest } from "../../src/perimeter/linger.ts";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, type RawAnswer, rawRequest } from "../support/raw-request.ts";
import { bodyOf, startRawUpstream, startUpstream } from "../support/upstream.ts";

const HEAD = "GET /health HTTP/1.1\r\nHost: localhost\r\n";

function expectTimedOut({ text, end }: Pick<RawAnswer, "text" | "end">): void {
  const last = text.slice(text.lastIndexOf("HTTP/1.1 "));
  expect(last).toMatch(/^HTTP\/1\.1 408 /);
  expect(last).toMatch(/^X-Proxy-Error: REQUEST_TIMEOUT$/im);
  expect(last).toMatch(/^Connection: close$/im);
  expect(JSON.parse(last.slice(last.indexOf("\r\n\r\n")))).toMatchObject({ code: "REQUEST_TIMEOUT", status: 408 });
  expect(end).toBe("fin");
}

describe("HEADERS_TIMEOUT", () => {
  const env = { HEADERS_TIMEOUT: "200" };

  test("HEADERS_TIMEOUT ends a connection with 408, wherever its first or a later head stops", async () => {
    const gateway = await startGateway({ env });
    const stopping = [
      "",
      "GET /hea",
      HEAD,
      `${HEAD}\r\n${HEAD}`,
      "GET /proxy/api/ HTTP/1.1\r\nUpgrade: websocket\r\n",
      "POST /manage/services HTTP/1.1\r\nHost: localhost\r\n",
    ];
    const responses = await Promise.all(stopping.map((bytes) => rawRequest(gateway.port, bytes)));
    for (const response of responses) expectTimedOut(response);
  });

  test("HEADERS_TIMEOUT covers a whole head, the first and later ones, for any number of trickling bytes", async () => {
    const gateway = await startGateway({ env });
    const open = await openSocket(gateway.port);
    open.write(`${HEAD}\r\n`);
    await eventually(() => open.received.includes("200 OK"));
    const trickled = async (client: typeof open) => {
      client.write(HEAD);
      const trickle = setInterval(() => client.write("X: y\r\n"), 20);
      await eventually(() => client.readableEnded || client.closed);
      clearInterval(trickle);
      expectTimedOut({ text: client.received, end: "fin" });
    };
    await Promise.all([trickled(open), trickled(await openSocket(gateway.port))]);
  });

  test("HEADERS_TIMEOUT does not affect a slow response or a long upload", async () => {
    const upstream = await startUpstream(async (req, res) => {
      const body = await bodyOf(req);
      setTimeout(() => res.end(`${body.length} bytes`), 300);
    });
    const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, timeoutMs: 5_000 } } });
    const client = await openSocket(gateway.port);
    client.write("POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n");
    setTimeout(() => client.write("x".repeat(20)), 300);
    await eventually(() => client.received.includes("20 bytes"));
    expect(client.received).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe("body for /proxy", () => {
  test("A body that never begins, or stops, gets 408, and everything it held is released", async () => {
    const upstream = await startRawUpstream(() => {});
    const services = { api: { baseUrl: upstream.url, timeoutMs: 50, idleTimeoutMs: 150 } };
    const gateway = await startGateway({ services });
    const stopping = [
      "POST - Content-Length: 4\r\n\r\n",
      "POST - Transfer-Encoding: chunked\r\n\r\n",
      "POST - Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
      // Buffered before anything is sent.
      "PUT - Content-Length: 4\r\n\r\n",
      "DELETE - Content-Length: 4\r\n\r\nab",
      "PUT - Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    ];
    const heads = stopping.map((text) => text.replace(" - ", " /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n"));
    const responses = await Promise.all(heads.map((bytes) => rawRequest(gateway.port, bytes)));
    for (const response of responses) expectTimedOut(response);
    await eventually(() => upstream.sockets.size === 0, "the upstream's sockets to close");
    const { load } = (await (await fetch(`${gateway.url}/status`)).json()) as { load: { inFlight: unknown } };
    expect(load.inFlight).toEqual({ current: 0, limit: null });
  });

  test("A body that keeps arriving may take longer than every timeout", async () => {
    const upstream = await startUpstream(async (req, res) => res.end(`${(await bodyOf(req)).length} bytes`));
    const service = { baseUrl: upstream.url, timeoutMs: 150, idleTimeoutMs: 150 };
    const gateway = await startGateway({ env: { HEADERS_TIMEOUT: "150" }, services: { api: service } });
    const ask = async (method: string) => {
      const client = await openSocket(gateway.port);
      client.write(`${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n`);
      for (let i = 0; i < 30; i++) {
        client.write("x");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await eventually(() => client.received.includes("30 bytes"), client.received);
    };
    await Promise.all([ask("POST"), ask("PUT")]);
  });

  test("A refused body is not awaited indefinitely, even where the connection stays open", async () => {
    const rests: IncomingMessage[] = [];
    const server = createServer((req, res) => {
      rests.push(req);
      res.once("finish", () => discardRest(req, 100));
      res.end("no");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    const client = await openSocket(port);
    client.write(`${post}123456789`);
    await eventually(() => client.received.includes("no"));
    client.received = "";
    client.write(`${post}12345`);
    await eventually(() => client.received.includes("no"));
    const trickle = setInterval(() => client.write("6"), 90);
    await eventually(() => client.closed);
    clearInterval(trickle);
    server.close();
  });
});

test("A body for /manage has a limit for its total time", async () => {
  const failures: unknown[] = [];
  const server = createServer((incoming, outgoing) => {
    readJson({ env: { incoming, outgoing }, get: () => ANONYMOUS }, 100).catch((error: unknown) => {
      failures.push(error);
      outgoing.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = await openSocket((server.address() as { port: number }).port);
  client.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{");
  const trickle = setInterval(() => client.write(" "), 10);
  await eventually(() => failures.length === 1);
  clearInterval(trickle);
  expect((failures[0] as GatewayError).code).toBe("REQUEST_TIMEOUT");
  client.destroy();
  server.close();
});

describe("SEND_TIMEOUT", () => {
  const get = (path: string, version = "1.1") =>
    `GET ${path} HTTP/${version}\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
  const BYTES = 32 * 1024 * 1024;

  /** An upstream that sends more than the buffers between it and a client that does not read can hold. */
  async function startTalkative(type: string, env: Record<string, string> = { SEND_TIMEOUT: "300" }) {
    const upstream = await startUpstream((_, res) => {
      res.writeHead(200, { "content-type": type });
      let left = BYTES;
      const pump = () => {
        while (left > 0 && !res.destroyed) {
          left -= 65_536;
          if (!res.write(Buffer.alloc(65_536, 97))) return;
        }
        res.end();
      };
      res.on("drain", pump);
      pump();
    });
    const services = { api: { baseUrl: upstream.url } };
    // Without a key the gateway refuses HTTP/1.0.
    return { upstream, gateway: await startGateway({ env: { ...env, PROXY_API_KEY: PROXY_KEY }, services }) };
  }

  test("SEND_TIMEOUT drops a client that reads nothing of a response, framed or not, or of an event stream, with its upstream request", async () => {
    const rows = [
      ["text/plain", "1.1"],
      ["text/event-stream", "1.1"],
      ["text/plain", "1.0"],
    ] as const;
    const drop = async ([type, version]: (typeof rows)[number]) => {
      const { upstream, gateway } = await startTalkative(type);
      const client = await openSocket(gateway.port);
      client.pause();
      client.write(get("/proxy/api/", version));
      await eventually(() => gateway.exchanges().length === 1, "the exchange to end");
      expect(gateway.exchanges()[0]).toMatchObject({ outcome: "client-left", status: 499 });
      await eventually(() => upstream.sockets.size === 0);
      client.resume();
      await eventually(() => client.closed);
      expect(client.received.length).toBeLessThan(BYTES);
      expect(client.received).not.toMatch(/\r\n0\r\n\r\n$/);
    };
    await Promise.all(rows.map(drop));
  });

  test("SEND_TIMEOUT does not affect a client that pauses for less, any number of times", async () => {
    const { gateway } = await startTalkative("text/plain", { SEND_TIMEOUT: "400" });
    const client = await openSocket(gateway.port);
    client.removeAllListeners("data");
    let taken = 0;
    let sinceStop = 0;
    client.on("data", (chunk: Buffer) => {
      taken += chunk.length;
      sinceStop += chunk.length;
      // More than the kernel's buffers hold.
      if (sinceStop < BYTES / 4) return;
      sinceStop = 0;
      client.pause();
      setTimeout(() => client.resume(), 200);
    });
    client.write(get("/proxy/api/"));
    await eventually(() => taken > BYTES, "all of it to be taken", 6_000);
  });

  test("SEND_TIMEOUT drops a client that sends requests to the control plane without reading the responses", async () => {
    const gateway = await startGateway({ env: { SEND_TIMEOUT: "300" } });
    const client = await openSocket(gateway.port);
    client.pause();
    const ask = () => {
      for (let i = 0; i < 90; i++) client.write(get("/openapi.json"));
    };
    ask();
    const more = setInterval(ask, 50);
    await eventually(() => client.destroyed || client.errored, "the client to be dropped", 9_000);
    clearInterval(more);
    await eventually(async () => {
      const { load } = (await (await fetch(`${gateway.url}/status`)).json()) as {
        load: { connections: { current: number }[] };
      };
      return load.connections[0]?.current === 1;
    });
  });
});

test.skipIf(!existsSync("/proc/net/tcp"))("TCP itself probes the client of a silent stream", async () => {
  const upstream = await startUpstream((_, res) =>
    res.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders(),
  );
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  const client = await openSocket(gateway.port);
  client.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await eventually(() => client.received.includes("\r\n\r\n"));
  const hex = (port: number | undefined) => port?.toString(16).toUpperCase().padStart(4, "0");
  const line = new RegExp(`:${hex(gateway.port)} \\w+:${hex(client.localPort)} .*`);
  // The kernel's timer of the connection: 02 is the keep-alive timer.
  await eventually(() => / 02:\w{8} /.test(line.exec(readFileSync("/proc/net/tcp", "utf8"))?.[0] ?? ""));
});
