/** Upstreams that attack the framing of their responses: no response reaches another request, and no slot is lost. */
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const EVIL = `${OK}Content-Length: 4\r\n\r\nEVIL`;

type Respond = (socket: Socket) => void;

/** An upstream with one connection slot: `/attack` gets the attack, every other path its own text. */
async function startAttack(respond: Respond, service: object = {}) {
  const upstream = await startRawUpstream((socket, received) => {
    const [, path] = [...received.matchAll(/^[A-Z]+ (\/\w*) HTTP\/1\.1\r$/gm)].at(-1) ?? [];
    if (path === "/attack") return respond(socket);
    if (received.endsWith("\r\n\r\n")) socket.write(`${OK}Content-Length: ${path?.length}\r\n\r\n${path}`);
  });
  const api = { baseUrl: upstream.url, maxConnections: 1, timeoutMs: 1_000, retries: 0, breaker: false, ...service };
  const gateway = await startGateway({ services: { api: api as object } });
  const ask = (path: string, head = "GET", body = "") =>
    rawRequest(
      gateway.port,
      `${head} /proxy/api${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${body}\r\n`,
    );
  const expectServed = async () => {
    for (const path of ["/first", "/second"]) {
      const { status, body } = await ask(path);
      expect([status, body]).toEqual([200, path]);
    }
  };
  return { upstream, gateway, ask, expectServed };
}

const text =
  (bytes: string): Respond =>
  (socket) =>
    void socket.write(Buffer.from(bytes, "latin1"));

describe("bytes that no request asked for", () => {
  test.each<[what: string, method: string, respond: Respond, status: number, body: string]>([
    ["a response after a body with a length", "GET", text(`${OK}Content-Length: 2\r\n\r\nok${EVIL}`), 200, "ok"],
    [
      "a response after chunks",
      "GET",
      text(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${EVIL}`),
      200,
      "ok",
    ],
    [
      "an interim response after the response",
      "GET",
      text(`${OK}Content-Length: 2\r\n\r\nokHTTP/1.1 100 C\r\n\r\n`),
      200,
      "ok",
    ],
    ["an empty line after the response", "GET", text(`${OK}Content-Length: 2\r\n\r\nok\r\n`), 200, "ok"],
    ["a body to HEAD", "HEAD", text(EVIL), 200, ""],
    ["chunks to HEAD", "HEAD", text(`${OK}Transfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n`), 200, ""],
    ["a body with a 204", "GET", text(`HTTP/1.1 204 N\r\nContent-Length: 4\r\n\r\nEVIL`), 204, ""],
    ["chunks with a 204", "GET", text("HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 204, ""],
    ["a body with a 304", "GET", text(`HTTP/1.1 304 N\r\nContent-Length: 4\r\n\r\nEVIL`), 304, ""],
    [
      "a response on the idle connection",
      "GET",
      (socket) => {
        socket.write(`${OK}Content-Length: 2\r\n\r\nok`);
        setTimeout(() => socket.write(EVIL), 5);
      },
      200,
      "ok",
    ],
    [
      "a body with a length of a 204 in a later packet",
      "GET",
      (socket) => {
        socket.write("HTTP/1.1 204 N\r\nContent-Length: 4\r\n\r\n");
        setImmediate(() => socket.write("EVIL"));
      },
      204,
      "",
    ],
  ])(
    "The client gets only its response, and the next ones are not affected: %s",
    async (_, method, respond, status, body) => {
      const { ask, expectServed, upstream } = await startAttack(respond);
      const response = await ask("/attack", method);
      expect([response.status, response.body.replace(/^2\r\nok\r\n0\r\n\r\n$/, "ok")]).toEqual([status, body]);
      expect(response.text).not.toContain("EVIL");
      await eventually(() => upstream.sockets.size === 0, "the end of the connection");
      await expectServed();
      expect(upstream.received).toHaveLength(2);
    },
  );

  test.each([
    ["a length and chunks", `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${EVIL}`],
    ["two lengths", `Content-Length: 2\r\nContent-Length: 60\r\n\r\nok${EVIL}`],
    ["an unknown coding", `Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${EVIL}`],
    ["a space before the colon", `Content-Length : 2\r\n\r\nok${EVIL}`],
    ["a fold", `X-A: b\r\n Content-Length: 2\r\n\r\nok${EVIL}`],
  ])("A response whose length two recipients may read differently is a 502: %s", async (_, fields) => {
    const { ask, expectServed } = await startAttack(text(OK + fields));
    const response = await ask("/attack");
    expect(response.status).toBe(502);
    expect(response.text).not.toContain("EVIL");
    await expectServed();
  });

  test("A 101 to a plain request is a 502, and its bytes reach no client", async () => {
    const { ask, expectServed } = await startAttack(
      text(`HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n${EVIL}`),
    );
    expect((await ask("/attack")).status).toBe(502);
    await expectServed();
  });
});

describe("connection that ends", () => {
  const RESPONSE = `HTTP/1.1 103 E\r\nLink: a\r\n\r\n${OK}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-A: b\r\n\r\n`;

  test.each(["end", "resetAndDestroy"] as const)(
    "After every byte of a response, by %s: the client never gets an incomplete response as a complete one",
    async (how) => {
      let length = 0;
      const { ask, expectServed } = await startAttack((socket) => {
        if (length > 0) socket.write(RESPONSE.slice(0, length));
        // Otherwise the reset would also discard what was written.
        setImmediate(() => socket[how]());
      });
      for (; length < RESPONSE.length; length++) {
        const { text: received, status } = await ask("/attack");
        const isComplete = status === 502 || received.includes("HTTP/1.1 502");
        expect(isComplete || !received.endsWith("0\r\n\r\n"), `${length}: ${received}`).toBe(true);
      }
      await expectServed();
      expect((await ask("/attack")).body).toMatch(/ok\r\n0\r\n\r\n$/);
    },
    20_000,
  );
});

describe("slow or endless response", () => {
  /** Sends the text again and again, a part at a time, until the connection ends. @param first sent before it. */
  function repeat(text: string, partLength: number, first = ""): Respond {
    return (socket) => {
      let at = 0;
      socket.write(first);
      const timer = setInterval(() => {
        socket.write(text.repeat(2).slice(at, at + partLength));
        at = (at + partLength) % text.length;
      }, 2);
      socket.once("close", () => clearInterval(timer));
    };
  }

  test.each<[what: string, respond: Respond]>([
    ["nothing", () => {}],
    ["a head byte by byte", repeat("a", 1, `${OK}X-A: `)],
    ["interim responses byte by byte", repeat("HTTP/1.1 102 Processing\r\n\r\n", 1)],
    ["interim responses, many at a time", repeat("HTTP/1.1 100 Continue\r\n\r\n".repeat(10), 250)],
  ])("It ends at timeoutMs with a 504 and frees its connection: %s", async (_, respond) => {
    const { ask, expectServed, upstream } = await startAttack(respond, { timeoutMs: 150 });
    const startedAt = performance.now();
    expect((await ask("/attack")).text).toMatch(/HTTP\/1\.1 504 /);
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await eventually(() => upstream.sockets.size === 0, "the end of the connection");
    await expectServed();
  });

  test("A body of 20,000 chunks of one byte arrives whole", async () => {
    const { ask } = await startAttack(
      text(`${OK}Transfer-Encoding: chunked\r\n\r\n${"1\r\nx\r\n".repeat(20_000)}0\r\n\r\n`),
    );
    const { body } = await ask("/attack");
    expect(body.replace(/[0-9a-f]+\r\n|\r\n/g, "")).toBe("x".repeat(20_000));
  });
});

describe("reuse", () => {
  const HTTP10 = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n";

  test.each<[what: string, head: string, connections: number]>([
    ["HTTP/1.0", `${HTTP10}\r\n`, 2],
    ["HTTP/1.0 with keep-alive", `${HTTP10}Connection: keep-alive\r\n\r\n`, 1],
    ["HTTP/1.1", `${OK}Content-Length: 2\r\n\r\n`, 1],
    ["close", `${OK}Content-Length: 2\r\nConnection: Close\r\n\r\n`, 2],
    ["close in a list", `${OK}Content-Length: 2\r\nConnection: x-a, close\r\n\r\n`, 2],
    ["close in an interim response", `HTTP/1.1 103 E\r\nConnection: close\r\n\r\n${OK}Content-Length: 2\r\n\r\n`, 2],
    ["an idle time of no second", `${OK}Content-Length: 2\r\nKeep-Alive: timeout=0\r\n\r\n`, 2],
  ])(
    "A connection that the upstream leaves open is reused or closed as its response says: %s",
    async (_, head, count) => {
      const { ask, upstream, expectServed } = await startAttack(text(`${head}ok`));
      expect((await ask("/attack")).text).toMatch(/\r\n\r\nok$/);
      if (count === 2) await eventually(() => upstream.sockets.size === 0, "the end of the connection");
      await expectServed();
      expect(upstream.received).toHaveLength(count);
    },
  );
});

test("A client that leaves in any phase frees the only connection, and its upstream's connection ends", async () => {
  const phases: Record<string, string> = {
    "before the response": "",
    "in the head": `${OK}X-A: b`,
    "after an interim response": "HTTP/1.1 103 E\r\nLink: a\r\n\r\n",
    "in a body with a length": `${OK}Content-Length: 9\r\n\r\nhalf`,
    "in a chunk": `${OK}Transfer-Encoding: chunked\r\n\r\n9\r\nhalf`,
    "in a body until the end": `${OK}\r\nhalf`,
    "while it does not read": `${OK}Content-Length: 99999999\r\n\r\n${"x".repeat(8 * 1_048_576)}`,
  };
  for (const [phase, bytes] of Object.entries(phases)) {
    let wasAsked = false;
    const { gateway, expectServed, upstream } = await startAttack((socket) => {
      socket.write(bytes, () => {
        wasAsked = true;
      });
      if (phase === "while it does not read") wasAsked = true;
    });
    for (const upload of ["", "Content-Length: 9\r\n"]) {
      wasAsked = false;
      const client = await openSocket(gateway.port);
      if (phase === "while it does not read") client.pause();
      client.write(`POST /proxy/api/attack HTTP/1.1\r\nHost: localhost\r\n${upload}\r\n${upload === "" ? "" : "up"}`);
      await eventually(() => wasAsked, `the request: ${phase}`);
      client.destroy();
      await eventually(() => upstream.sockets.size === 0, `the end of the connection: ${phase}`);
    }
    await expectServed();
  }
});
