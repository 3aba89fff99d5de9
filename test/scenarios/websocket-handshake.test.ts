/** The upstream's response to a WebSocket's handshake, byte by byte: it has every guarantee of a plain response. */
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const HANDSHAKE = [
  "GET /proxy/api/chat HTTP/1.1",
  "Host: localhost",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const handshake = (...lines: string[]) => `${[...HANDSHAKE, ...lines].join("\r\n")}\r\n\r\n`;
const switching = (...lines: string[]) =>
  `${["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", ...lines].join("\r\n")}\r\n\r\n`;
/** Text frames: "one" and "two". */
const FRAMES = "\x81\x03one\x81\x03two";
const OBS_TEXT = "caf\xc3\xa9 \xe9 \x80\xff";

type Respond = (socket: Socket, received: string) => void;

async function start(respond: Respond | string, service: Record<string, unknown> = {}) {
  const onData = typeof respond === "string" ? respondWith(respond) : respond;
  const upstream = await startRawUpstream(onData);
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, ws: true, ...service } } });
  const send = (until?: string | RegExp, bytes = handshake()) =>
    rawRequest(gateway.port, bytes, until === undefined ? {} : { until });
  const line = () => eventually(() => gateway.exchanges()[0], "the access line");
  return { upstream, gateway, send, line };
}

const errorOf = ({ body }: { body: string }) => (JSON.parse(body) as { code: string }).code;

/** Writes the parts one after another, each in a packet of its own. */
function inPackets(parts: readonly string[]): Respond {
  return async (socket, received) => {
    if (!received.endsWith("\r\n\r\n")) return;
    socket.setNoDelay(true);
    for (const part of parts) {
      socket.write(Buffer.from(part, "latin1"));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
}

describe("headers of the response to a handshake", () => {
  test.each([
    ["a 101", switching(`X-Name: ${OBS_TEXT}`, `Set-Cookie: n=${OBS_TEXT}`)],
    [
      "a refusal",
      `HTTP/1.1 403 ${OBS_TEXT}\r\nX-Name: ${OBS_TEXT}\r\nSet-Cookie: n=${OBS_TEXT}\r\nContent-Length: 0\r\n\r\n`,
    ],
  ])("The bytes of header values in %s arrive unchanged", async (_, bytes) => {
    const { send } = await start(bytes, { cookies: true });
    const { head } = await send("\r\n\r\n");
    expect(/^x-name: (.*)\r$/im.exec(`${head}\r`)?.[1]).toBe(OBS_TEXT);
    expect(/^set-cookie: n=([^;\r]*)/im.exec(head)?.[1]).toBe(OBS_TEXT);
    expect(head.startsWith("HTTP/1.1 101") || head.startsWith(`HTTP/1.1 403 ${OBS_TEXT}\r\n`)).toBe(true);
  });

  test("The bytes of header values in a handshake reach the upstream unchanged", async () => {
    const { upstream, send } = await start(switching());
    await send("\r\n\r\n", handshake(`X-Name: ${OBS_TEXT}`));
    expect(upstream.received[0]).toContain(`x-name: ${OBS_TEXT}\r\n`);
  });

  test.each([
    ["a 101", switching("X: y").replace("X: y\r\n", "HEADERS")],
    ["a refusal", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nHEADERS\r\n"],
  ])("The headers of %s have the limits of a plain response: 64 KiB and 10,000 lines", async (_, bytes) => {
    const status = Number(bytes.slice(9, 12));
    const sent = async (headers: string) => {
      const { send } = await start(bytes.replace("HEADERS", headers));
      return send("\r\n\r\n");
    };
    const long = await sent(`X-Long: ${"a".repeat(65_000)}\r\n`);
    expect([long.status, /^x-long: (a+)/im.exec(long.head)?.[1]?.length]).toEqual([status, 65_000]);
    const many = await sent("a: b\r\n".repeat(9_900));
    expect([many.status, many.head.match(/^a: b/gm)?.length]).toEqual([status, 9_900]);
    for (const headers of [`X-Long: ${"a".repeat(70_000)}\r\n`, "a:\r\n".repeat(10_001)]) {
      const { head } = await sent(headers);
      expect(head).toMatch(/^HTTP\/1\.1 502 /);
      expect(head).toMatch(/^x-proxy-error: UPSTREAM_PROTOCOL_ERROR/im);
    }
  });

  test("Interim responses before the 101 or the refusal are ignored, however many there are", async () => {
    const interim = `${"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)}HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n`;
    const accepted = await (await start(interim + switching())).send("\r\n\r\n");
    expect([accepted.status, accepted.text.split("HTTP/1.1 ").length]).toEqual([101, 2]);
    const refused = await (await start(`${interim}HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno`)).send();
    expect([refused.status, refused.body, refused.end]).toEqual([403, "no", "fin"]);
  });

  test("A Content-Length in a 101 has no meaning and is removed; Sec-WebSocket-Accept is the client's to judge", async () => {
    const { send } = await start(switching("Content-Length: 3", "Sec-WebSocket-Accept: x") + FRAMES);
    const { head, body } = await send("two");
    expect(body).toBe(FRAMES);
    expect(head).not.toMatch(/^content-length/im);
    expect(head).toMatch(/^sec-websocket-accept: x$/im);
    for (const name of ["connection: Upgrade", "upgrade: websocket"]) expect(head.split(name)).toHaveLength(2);
  });
});

describe("bytes of an accepted handshake", () => {
  const bytes = switching("X-Own: y") + FRAMES;
  const at = bytes.indexOf(FRAMES);
  test.each([
    ["in one packet with the 101", [bytes]],
    ["after a 101 in two packets", [bytes.slice(0, 40), bytes.slice(40)]],
    ["after a 101 in the next packet", [bytes.slice(0, at), FRAMES]],
    ["byte by byte", bytes.split("")],
  ])("The upstream's frames arrive complete and once: %s", async (_, parts) => {
    const { gateway, upstream } = await start(inPackets(parts));
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.endsWith(FRAMES));
    expect(client.received.split("\r\n\r\n")).toEqual([expect.stringMatching(/^HTTP\/1\.1 101 /), FRAMES]);
    client.write("to the upstream");
    await eventually(() => upstream.received[0]?.endsWith("\r\n\r\nto the upstream"));
  });

  test("Frames that come with the 101 and with the end of the upstream's connection reach the client", async () => {
    const { send, line } = await start((socket, received) => {
      if (received.endsWith("\r\n\r\n")) socket.end(Buffer.from(bytes, "latin1"));
    });
    const { body, end } = await send();
    expect([body, end]).toEqual([FRAMES, "fin"]);
    expect(await line()).toMatchObject({ status: 101, outcome: "relayed", bytesOut: FRAMES.length });
  });

  test.each([
    ["whose Connection does not name upgrade", "Connection: keep-alive\r\nUpgrade: websocket\r\n"],
    ["without Connection", "Upgrade: websocket\r\n"],
    ["without Upgrade", "Connection: Upgrade\r\n"],
    ["to two protocols", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"],
  ])("A 101 %s is 502, and the upstream's connection is closed", async (_, headers) => {
    const { upstream, send } = await start(`HTTP/1.1 101 Switching Protocols\r\n${headers}\r\n`);
    const response = await send();
    expect([response.status, errorOf(response), response.end]).toEqual([502, "UPSTREAM_PROTOCOL_ERROR", "fin"]);
    await eventually(() => upstream.sockets.size === 0);
  });

  test("A 101 to a request that is not a handshake is 502", async () => {
    const { send } = await start(switching());
    expect(
      errorOf(await send(undefined, "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")),
    ).toBe("UPSTREAM_PROTOCOL_ERROR");
  });

  test("An upstream that accepts after timeoutMs, or never stops sending interim responses, is 504 and is disconnected", async () => {
    const late = await start((socket) => void setTimeout(() => socket.write(switching()), 300), { timeoutMs: 150 });
    const endless = await start(
      (socket) => {
        const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), 5);
        socket.on("close", () => clearInterval(timer));
      },
      { timeoutMs: 150 },
    );
    for (const { upstream, send } of [late, endless]) {
      const response = await send();
      expect([response.status, errorOf(response), response.end]).toEqual([504, "UPSTREAM_TIMEOUT", "fin"]);
      await eventually(() => upstream.sockets.size === 0);
    }
  });
});

describe("refusal of a handshake", () => {
  test.each([
    [
      "a reason phrase, a length and a redirect",
      "302 Over There\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno",
      "keep",
    ],
    ["chunks of several sizes", "403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n", "keep"],
    ["the end of the connection", "500 No\r\n\r\nwhole", "end"],
    ["a reset", "403 No\r\n\r\nhalf", "reset"],
    ["an end inside a length", "403 No\r\nContent-Length: 9\r\n\r\nhalf", "end"],
    ["no body", "204 None\r\nX: y\r\n\r\n", "keep"],
    ["a 200", "200 OK\r\nContent-Length: 2\r\n\r\nok", "keep"],
    ["a folded header", "403 No\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "keep"],
    ["two framings", "403 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "keep"],
  ] as const)("A refusal is relayed as the response to a request: %s", async (_, bytes, then) => {
    const { gateway, send } = await start(respondWith(`HTTP/1.1 ${bytes}`, then), { breaker: false, retries: 0 });
    const request = "GET /proxy/api/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const [plain, refusal] = [await send(undefined, request), await send()];
    const own =
      /^(date|x-proxy-(duration|request-id)|x-request-id|content-length: \d{3}).*\r\n|"(requestId|timestamp)":"[^"]*"/gim;
    expect(refusal.text.replace(own, "")).toBe(plain.text.replace(own, ""));
    expect(refusal.end).toBe(plain.end);
    await eventually(() => gateway.exchanges().length === 2);
    const [first, second] = gateway.exchanges();
    expect(second).toMatchObject({ status: first?.status, outcome: first?.outcome, bytesOut: first?.bytesOut });
  });

  test("The head of a refusal arrives before its body, with the upstream's reason phrase", async () => {
    const { gateway } = await start("HTTP/1.1 401 Token Expired\r\nContent-Length: 12\r\n\r\n");
    const client = await openSocket(gateway.port);
    client.write(handshake());
    await eventually(() => client.received.includes("\r\n\r\n"));
    expect(client.received).toMatch(/^HTTP\/1\.1 401 Token Expired\r\n/);
  });

  test("A refusal that the end of the connection frames is complete when that end is clean", async () => {
    const { send, line } = await start(respondWith("HTTP/1.1 403 No\r\n\r\nwhole", "end"));
    expect((await send()).body).toBe("5\r\nwhole\r\n0\r\n\r\n");
    expect((await line()).outcome).toBe("relayed");
  });

  test.each([
    ["no length and a reset", "HTTP/1.1 403 No\r\nConnection: close\r\n\r\nhalf", "reset"],
    ["a length and an end", "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nhalf", "end"],
    ["a length and a reset", "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nhalf", "reset"],
    ["a malformed chunk", "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", "keep"],
  ] as const)("A refusal that is cut off, with %s, never looks complete to the client", async (_, bytes, then) => {
    const { upstream, send, line } = await start(respondWith(bytes, then));
    const response = await send();
    expect([response.status, response.end]).not.toContain("open");
    expect(response.body).toContain("half");
    expect(response.text).not.toContain("0\r\n\r\n");
    expect((await line()).outcome).toMatch(/^failed:UPSTREAM_/);
    await eventually(() => upstream.sockets.size === 0);
  });

  test("A client that takes trailers receives those of a refusal", async () => {
    const { send } = await start(
      "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nno\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    expect((await send(undefined, handshake("TE: trailers"))).body).toBe("2\r\nno\r\n0\r\nx-sum: 7\r\n\r\n");
  });

  test.each([
    ["is silent inside its body for idleTimeoutMs", { idleTimeoutMs: 100 }, 0],
    ["sends its body for longer than timeoutMs", { timeoutMs: 200 }, 20],
  ])("A refusal is cut off if the upstream %s", async (_, service, everyMs) => {
    const { upstream, send, line } = await start((socket) => {
      socket.write("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n");
      const timer = everyMs > 0 ? setInterval(() => socket.write("1\r\n.\r\n"), everyMs) : undefined;
      socket.on("close", () => clearInterval(timer));
    }, service);
    const { status, text } = await send();
    expect(status).toBe(403);
    expect(text).not.toContain("0\r\n\r\n");
    expect((await line()).outcome).toBe("failed:UPSTREAM_TIMEOUT");
    await eventually(() => upstream.sockets.size === 0);
  });

  test.each(["destroy", "resetAndDestroy", "end"] as const)(
    "When the client leaves inside a refusal (%s), the upstream's connection is closed and no failure is counted",
    async (how) => {
      const { upstream, gateway, line } = await start("HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nhalf");
      const client = await openSocket(gateway.port);
      client.write(handshake());
      await eventually(() => client.received.endsWith("half"));
      client.write("bytes that are for no upstream");
      client[how]();
      await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close", 1_000);
      expect(await line()).toMatchObject({ outcome: "client-left", status: 499 });
    },
  );
});
