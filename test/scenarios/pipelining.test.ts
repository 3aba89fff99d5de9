/** Several requests on one connection before the first response: served one after another, in order, and only for a present client. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";

const get = (path: string, headers = "") => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
const statuses = (text: string) => text.match(/HTTP\/1\.1 \d{3}/g)?.map((line) => Number(line.slice(-3)));

/** Responds after 100 ms, so that all pipelined requests have arrived. */
async function startSlow() {
  const upstream = await startUpstream((_, res) => setTimeout(() => res.end("slow"), 100));
  return { upstream, gateway: await startGateway({ services: { api: { baseUrl: upstream.url } } }) };
}

describe("pipelined requests", () => {
  test("Pipelined requests get complete responses in order, of any size", async () => {
    const upstream = await startUpstream((req, res) => {
      const letter = req.url?.at(-1) ?? "";
      setTimeout(() => res.end(Buffer.alloc(3_000_000, letter)), letter === "x" ? 80 : 0);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const bytes = get("/proxy/api/x") + get("/proxy/api/y") + get("/proxy/api/z", "Connection: close\r\n");
    const { text, end } = await rawRequest(gateway.port, bytes);
    expect(end).toBe("fin");
    expect(statuses(text)).toEqual([200, 200, 200]);
    const bodies = text.split("HTTP/1.1 200").map((response) => response.slice(response.indexOf("\r\n\r\n") + 4));
    // Framing has no such letters.
    const counts = ["x", "y", "z"].map((letter, index) => (bodies[index + 1] as string).split(letter).length - 1);
    expect(counts).toEqual([3_000_000, 3_000_000, 3_000_000]);
  });

  test("The failure of the second pipelined request does not affect the response to the first", async () => {
    const upstream = await startRawUpstream((socket, received) => {
      const isFirst = received.startsWith("GET /1");
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n${isFirst ? "abc" : "xyz"}`);
      setTimeout(() => (isFirst ? socket.write("def") : socket.end()), isFirst ? 80 : 0);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const { text } = await rawRequest(gateway.port, get("/proxy/api/1") + get("/proxy/api/2"));
    expect(text).toMatch(/\r\n\r\nabcdefHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nxyz$/);
  });

  test.each(["destroy", "resetAndDestroy", "end"] as const)(
    "Pipelined requests are dropped when their client leaves by %s, and no upstream request continues",
    async (leave) => {
      const upstream = await startUpstream((_, res) => {
        res.writeHead(200, { "content-type": "text/event-stream" });
        res.write("data: for ever\n\n");
      });
      const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
      const client = await openSocket(gateway.port);
      client.write(get("/proxy/api/1") + get("/proxy/api/2") + get("/proxy/api/3"));
      await eventually(() => client.received.includes("for ever"));
      client[leave]();
      await eventually(() => gateway.exchanges().length > 0);
      await eventually(() => upstream.sockets.size === 0, "the upstream's sockets to close", 500);
      expect(upstream.requests).toHaveLength(1);
    },
  );

  test("Endless pipelined requests cannot fill the memory: the connection is closed", async () => {
    const upstream = await startUpstream(() => {});
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    const client = await openSocket(gateway.port);
    client.write(get("/proxy/api/").repeat(1_000));
    await eventually(() => client.destroyed);
    expect(upstream.requests.length).toBeLessThanOrEqual(1);
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
  });
});

describe("after a request without its response", () => {
  test("A malformed request is refused after the pending response, and the connection is closed", async () => {
    const { gateway } = await startSlow();
    const { text, end } = await rawRequest(gateway.port, `${get("/proxy/api/")}GET /x HTTP/1.1\r\nbroken\r\n\r\n`);
    expect([statuses(text), end]).toEqual([[200, 400], "fin"]);
    expect(text).toMatch(/^X-Proxy-Error: INVALID_REQUEST\r$/m);
  });

  test("A request with an unsupported expectation is refused after the pending response", async () => {
    const { gateway } = await startSlow();
    const { text } = await rawRequest(gateway.port, get("/proxy/api/") + get("/health", "Expect: miracles\r\n"));
    expect(statuses(text)).toEqual([200, 417]);
  });

  test("CONNECT gets no response before the pending one", async () => {
    const { gateway } = await startSlow();
    const connect = "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n";
    const { text, end } = await rawRequest(gateway.port, get("/proxy/api/") + connect);
    expect(text).toBe("");
    expect(end).not.toBe("open");
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
  });

  test("A request that waits for 100 Continue gets it after the pending response", async () => {
    const { gateway } = await startSlow();
    const client = await openSocket(gateway.port);
    const head = "PUT /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.write(get("/proxy/api/") + head);
    await eventually(() => client.received.includes("HTTP/1.1 100"));
    client.write("body");
    await eventually(() => client.received.includes('"size": 4'));
    expect(statuses(client.received)).toEqual([200, 100, 200]);
  });
});
