/** HTTP/2 to an upstream that misbehaves, frame by frame. */
import { constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Dial } from "../../../../src/data-plane/forward/egress.ts";
import { Http2Transport } from "../../../../src/data-plane/forward/transport/http2/http2-transport.ts";
import type {
  Dispatched,
  Flow,
  ResponseListener,
  TransportRequest,
} from "../../../../src/data-plane/forward/transport/transport-contract.ts";
import { eventually } from "../../../support/eventually.ts";
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  type Frame,
  field,
  frame,
  STATUS_200,
  startFrameUpstream,
  startHttp2Upstream,
  uint32,
} from "../../../support/http2-upstream.ts";
import { startRawUpstream } from "../../../support/upstream.ts";

const LIMITS = {
  maxConnections: 100,
  maxPending: 100,
  idleConnectionMs: 60_000,
  maxConnectionAgeMs: 600_000,
  connectTimeoutMs: 2_000,
};

/** The events of one request. */
class Recorder implements ResponseListener {
  readonly events: string[] = [];
  readonly chunks: Buffer[] = [];
  flow: Flow | undefined;
  dispatched: Dispatched | undefined;
  /** Whether the request may be repeated after its failure. */
  isStale: boolean | undefined;
  isPausing = false;
  readonly over: Promise<string>;
  #resolve!: (last: string) => void;

  constructor() {
    this.over = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  onWaited(): void {}
  onTurn(): boolean {
    return true;
  }
  onRequestStart(flow: Flow): void {
    this.flow = flow;
  }
  onInterimResponse(status: number): void {
    this.#note(`interim ${status}`);
  }
  onResponseStart(flow: Flow, status: number): void {
    if (this.isPausing) flow.pause();
    this.#note(`start ${status}`);
  }
  onResponseData(_flow: Flow, chunk: Buffer): void {
    this.chunks.push(chunk);
  }
  onResponseEnd(_flow: Flow, trailers: object, last: Buffer | undefined): void {
    if (last !== undefined) this.chunks.push(last);
    this.#resolve(this.#note(`end ${Object.entries(trailers).join(" ")}`.trim()));
  }
  onResponseError(error: Error): void {
    this.isStale = this.dispatched?.isStale(error);
    this.#resolve(this.#note(`error ${error.message}`));
  }
  onUpgrade(): void {}

  get body(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }

  #note(event: string): string {
    this.events.push(event);
    return event;
  }
}

function openTransport(url: string, limits: Partial<typeof LIMITS> = {}) {
  const sockets: Socket[] = [];
  const dial: Dial = Object.assign(
    ({ port }: { port: string }, callback: Parameters<Dial>[1]) => {
      const socket = connect(Number(port), "127.0.0.1", () => callback(null, socket)).setNoDelay();
      sockets.push(socket);
    },
    { resolve: () => {} },
  );
  const transport = new Http2Transport(dial, { ...LIMITS, ...limits });
  onTestFinished(() => transport.close());
  const send = (request: Partial<TransportRequest> = {}, on: "any" | "new" = "any", recorder = new Recorder()) => {
    recorder.dispatched = transport.dispatch(
      {
        party: "",
        origin: url,
        method: "GET",
        path: "/",
        headers: [],
        body: null,
        contentLength: undefined,
        ...request,
      },
      recorder,
      on,
    );
    return recorder;
  };
  return { transport, send, sockets };
}

const RESPONSE = (stream: number) =>
  Buffer.concat([
    frame(FRAME.headers, END_HEADERS, stream, STATUS_200),
    frame(FRAME.data, END_STREAM, stream, Buffer.from("ok")),
  ]);

/** Sends these bytes in response to each request. */
async function startResponder(bytesFor: (stream: number, socket: Socket) => Buffer) {
  return startFrameUpstream((socket: Socket, { type, stream }: Frame) => {
    if (type === FRAME.headers) socket.write(bytesFor(stream, socket));
  });
}

test("A response that is reset with NO_ERROR before all of its Content-Length is not taken for complete", async () => {
  // Content-Length: 9, as a literal without an index (RFC 7541 section 6.2.2), whose name is entry 28 of the static table.
  const length = Buffer.from([0x0f, 28 - 15, 1, "9".charCodeAt(0)]);
  const upstream = await startResponder((stream) =>
    Buffer.concat([
      frame(FRAME.headers, END_HEADERS, stream, Buffer.concat([STATUS_200, length])),
      frame(FRAME.data, 0, stream, Buffer.from("half")),
      frame(FRAME.reset, 0, stream, uint32(constants.NGHTTP2_NO_ERROR)),
    ]),
  );
  const { send } = openTransport(upstream.url);
  const request = send();
  expect(await request.over).toBe("error the stream of the request ended with NO_ERROR");
  expect(request.isStale).toBe(false);
});

test.each([
  ["CANCEL", constants.NGHTTP2_CANCEL],
  ["INTERNAL_ERROR", constants.NGHTTP2_INTERNAL_ERROR],
])("A stream that the upstream resets with %s after its headers fails", async (name, code) => {
  const upstream = await startResponder((stream) =>
    Buffer.concat([frame(FRAME.headers, END_HEADERS, stream, STATUS_200), frame(FRAME.reset, 0, stream, uint32(code))]),
  );
  const { send } = openTransport(upstream.url);
  const request = send();
  expect(await request.over).toBe(`error the stream of the request ended with ${name}`);
  expect(request.events).toHaveLength(2);
});

test("A connection that ends inside a body fails its request", async () => {
  const upstream = await startResponder((stream, socket) => {
    setImmediate(() => socket.end());
    return Buffer.concat([
      frame(FRAME.headers, END_HEADERS, stream, STATUS_200),
      frame(FRAME.data, 0, stream, Buffer.from("half")),
    ]);
  });
  const { send } = openTransport(upstream.url);
  expect(await send().over).toBe("error the upstream closed the connection");
});

test("A connection on which a request got nothing for a second takes no new request once that request is canceled", async () => {
  const upstream = await startFrameUpstream((socket, { type, stream }) => {
    if (type === FRAME.headers && stream === 1) socket.write(RESPONSE(stream));
  });
  const { send } = openTransport(upstream.url);
  expect(await send().over).toBe("end");
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const silent = send();
  const other = send();
  vi.advanceTimersByTime(1_001);
  silent.flow?.abort(new Error("too late"));
  expect(await send().over).toBe("end");
  expect([upstream.counted.connections, other.events]).toEqual([2, []]);
});

test("A malformed frame after the last response of a connection ends that connection only (CVE-2026-27135)", async () => {
  const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(7));
  const upstream = await startFrameUpstream((socket, { type, stream }) => {
    if (type !== FRAME.headers) return;
    if (stream === 1) return void socket.write(RESPONSE(1));
    const goaway = frame(FRAME.goaway, 0, 0, uint32(3, constants.NGHTTP2_NO_ERROR));
    socket.write(Buffer.concat([goaway, frame(FRAME.headers, END_HEADERS | END_STREAM, 3, STATUS_200), ping]));
  });
  const { send } = openTransport(upstream.url);
  expect(await send().over).toBe("end");
  expect(await send().over).toBe("end");
  expect(await send().over).toBe("end");
  expect(upstream.counted.connections).toBe(2);
});

test("A refused stream may be repeated, once", async () => {
  const upstream = await startResponder((stream) =>
    frame(FRAME.reset, 0, stream, uint32(constants.NGHTTP2_REFUSED_STREAM)),
  );
  const { send } = openTransport(upstream.url);
  const first = send();
  expect(await first.over).toBe("error it refused the request without processing it");
  expect(first.isStale).toBe(true);
  const second = send({}, "new");
  await second.over;
  expect(second.isStale).toBe(false);
});

test("GOAWAY: requests after the last processed one may be repeated, the others end, and a new connection is opened", async () => {
  const seen: { socket: Socket; stream: number }[] = [];
  const upstream = await startFrameUpstream((socket, { type, stream }) => {
    if (type === FRAME.headers) seen.push({ socket, stream });
  });
  const { send } = openTransport(upstream.url);
  const [first, second] = [send(), send()];
  await eventually(() => seen.length === 2);
  const { socket } = seen[0] as (typeof seen)[0];
  socket.write(frame(FRAME.goaway, 0, 0, uint32(1, constants.NGHTTP2_NO_ERROR)));
  await second.over;
  expect([second.events, second.isStale]).toEqual([["error it refused the request without processing it"], true]);
  socket.write(RESPONSE(1));
  expect([await first.over, first.body]).toEqual(["end", "ok"]);
  const third = send();
  await eventually(() => seen.length === 3);
  expect(seen[2]?.socket).not.toBe(socket);
  seen[2]?.socket.write(RESPONSE(1));
  expect(await third.over).toBe("end");
});

test("GOAWAY with an error fails what was processed, and lets the rest be repeated", async () => {
  const seen: Socket[] = [];
  const upstream = await startFrameUpstream((socket, { type }) => {
    if (type === FRAME.headers) seen.push(socket);
  });
  const { send } = openTransport(upstream.url);
  const [first, second] = [send(), send()];
  await eventually(() => seen.length === 2);
  seen[0]?.write(frame(FRAME.goaway, 0, 0, uint32(1, constants.NGHTTP2_ENHANCE_YOUR_CALM)));
  expect(await first.over).toBe("error it ended the connection with ENHANCE_YOUR_CALM");
  expect(first.isStale).toBe(false);
  await second.over;
  expect(second.isStale).toBe(true);
});

test("An upstream that closes an idle connection makes the next request on it repeatable", async () => {
  let count = 0;
  const upstream = await startFrameUpstream((socket, { type, stream }) => {
    if (type !== FRAME.headers) return;
    if (++count === 2) socket.destroy();
    else socket.write(RESPONSE(stream));
  });
  const { send } = openTransport(upstream.url);
  expect(await send().over).toBe("end");
  const second = send();
  expect(await second.over).toBe("error the upstream closed the connection");
  expect(second.isStale).toBe(true);
  expect(await send({}, "new").over).toBe("end");
});

test("A server that speaks HTTP/1.1 is reported, and receives no request", async () => {
  const upstream = await startRawUpstream((socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const { send } = openTransport(upstream.url);
  const request = send({ headers: ["authorization", "Bearer secret"] });
  expect(await request.over).toMatch(/^error it does not speak HTTP\/2 on this port/);
  expect(upstream.received.join("")).not.toContain("secret");
  expect(request.flow).toBeUndefined();
});

test("A server that sends nothing is given up after connectTimeoutMs", async () => {
  const upstream = await startRawUpstream(() => {});
  const { send } = openTransport(upstream.url, { connectTimeoutMs: 50 });
  expect(await send().over).toMatch(/it sent no settings in time/);
});

test.each([
  ["a push", (stream: number) => frame(FRAME.push, END_HEADERS, stream, Buffer.concat([uint32(2), STATUS_200]))],
  ["headers beyond the limit", (stream: number) => bigHeaders(stream, 70)],
  ["a field with an upper-case name", (stream: number) => withField(stream, "X-Upper", "a")],
  ["a connection-specific field", (stream: number) => withField(stream, "transfer-encoding", "chunked")],
  ["two lengths", (stream: number) => withField(stream, "content-length", "1, 2")],
  ["a 101", (stream: number) => frame(FRAME.headers, END_HEADERS, stream, field(":status", "101"))],
  ["no status", (stream: number) => frame(FRAME.headers, END_HEADERS, stream, field("x-a", "b"))],
  [
    "a body longer than its length",
    (stream: number) =>
      Buffer.concat([
        frame(FRAME.headers, END_HEADERS, stream, Buffer.concat([STATUS_200, field("content-length", "1")])),
        frame(FRAME.data, END_STREAM, stream, Buffer.from("xyz")),
      ]),
  ],
  [
    "a body shorter than its length",
    (stream: number) =>
      Buffer.concat([
        frame(FRAME.headers, END_HEADERS, stream, Buffer.concat([STATUS_200, field("content-length", "9")])),
        frame(FRAME.data, END_STREAM, stream, Buffer.from("xyz")),
      ]),
  ],
  ["endless continuations", (stream: number) => continuations(stream, 2_000)],
])("An upstream that sends %s fails its request", async (_, bytes) => {
  const upstream = await startResponder((stream) => bytes(stream));
  const { send } = openTransport(upstream.url);
  const request = send();
  expect(await request.over).toMatch(/^error /);
});

function withField(stream: number, name: string, value: string): Buffer {
  const block = Buffer.concat([STATUS_200, field(name, value)]);
  return frame(FRAME.headers, END_HEADERS | END_STREAM, stream, block);
}

/** @param kib of fields, 1 KiB each. */
function bigHeaders(stream: number, kib: number): Buffer {
  const fields = Array.from({ length: kib }, (_, i) => field(`x-${i}`, "v".repeat(1_000)));
  const block = Buffer.concat([STATUS_200, ...fields]);
  const parts = [];
  for (let at = 0; at < block.length; at += 16_000) parts.push(block.subarray(at, at + 16_000));
  return Buffer.concat(
    parts.map((part, i) =>
      frame(i === 0 ? FRAME.headers : FRAME.continuation, i === parts.length - 1 ? END_HEADERS : 0, stream, part),
    ),
  );
}

function continuations(stream: number, count: number): Buffer {
  const more = Array.from({ length: count }, (_, i) => frame(FRAME.continuation, 0, stream, field(`x-${i}`, "v")));
  return Buffer.concat([frame(FRAME.headers, 0, stream, STATUS_200), ...more]);
}

test("Response fields keep their bytes, repeated ones are a list, and a malformed one is dropped", async () => {
  const fields = [
    field("x-name", "caf\xe9"),
    field("x-name", "b"),
    field("x-bad", "b\r\nx-c: d"),
    field("x-nul", "a\0"),
  ];
  const block = Buffer.concat([STATUS_200, ...fields]);
  const upstream = await startResponder((stream) => frame(FRAME.headers, END_HEADERS | END_STREAM, stream, block));
  const { send } = openTransport(upstream.url);
  const recorder = new Recorder();
  let received: unknown;
  recorder.onResponseStart = (...args: unknown[]) => {
    received = args[2];
  };
  await send({}, "any", recorder).over;
  expect(received).toEqual({ "x-name": ["caf\xe9", "b"] });
});

test("Requests beyond the upstream's limit of streams use further connections, and close() ends them all", async () => {
  const upstream = await startHttp2Upstream(() => {}, { settings: { maxConcurrentStreams: 2 } });
  const { send, transport } = openTransport(upstream.url);
  const requests = Array.from({ length: 5 }, () => send());
  await eventually(() => upstream.requests.length === 5);
  expect([upstream.counted.connections, transport.connections().open]).toEqual([3, 3]);
  await transport.close();
  await Promise.all(requests.map(({ over }) => over));
  expect(transport.connections()).toMatchObject({ open: 0, busy: 0 });
});

test("Requests beyond maxConnections wait, and all are served", async () => {
  let open = 0;
  let most = 0;
  const upstream = await startHttp2Upstream((stream) => {
    most = Math.max(most, ++open);
    setImmediate(() => {
      stream.respond({ ":status": 200 });
      stream.end("ok");
    });
    stream.on("close", () => open--);
  });
  const { send, transport } = openTransport(upstream.url, { maxConnections: 50, maxPending: 10_000 });
  const all = await Promise.all(Array.from({ length: 1_000 }, () => send().over));
  expect(new Set(all)).toEqual(new Set(["end"]));
  expect([most <= 50, upstream.counted.connections]).toEqual([true, 1]);
  expect(transport.connections()).toMatchObject({ open: 1, idle: 1, busy: 0, pending: 0 });
});

test("A connection with many canceled streams takes no new request, and those that it carries end", async () => {
  const upstream = await startHttp2Upstream((stream, headers) => {
    if (headers[":path"] === "/slow") return;
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  const { send, transport } = openTransport(upstream.url, { maxConnections: 300 });
  const kept = send({ path: "/slow" });
  for (let i = 0; i < 120; i++) {
    const request = send({ path: "/slow" });
    await eventually(() => request.flow);
    request.flow?.abort(new Error("left"));
  }
  expect(await send().over).toBe("end");
  expect([upstream.counted.connections, kept.events, transport.connections().busy]).toEqual([2, [], 1]);
});

test("A slow client stops one stream only, in bounded memory, and gets all of its response after the upstream has left", async () => {
  const size = 100_000;
  const upstream = await startHttp2Upstream((stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(headers[":path"] === "/large" ? Buffer.alloc(size, "x") : "ok");
  });
  const { send } = openTransport(upstream.url);
  const slow = new Recorder();
  slow.isPausing = true;
  send({ path: "/large" }, "any", slow);
  await eventually(() => slow.events.length > 0);
  for (let i = 0; i < 20; i++) expect(await send().over).toBe("end");
  await upstream.close();
  slow.flow?.resume();
  expect([await slow.over, slow.body.length]).toEqual(["end", size]);
});

test("A response in countless small frames is cut off while its client does not read", async () => {
  const small = Buffer.concat(Array.from({ length: 20_000 }, () => frame(FRAME.data, 0, 1, Buffer.from("x"))));
  const upstream = await startResponder((stream) =>
    Buffer.concat([frame(FRAME.headers, END_HEADERS, stream, STATUS_200), small]),
  );
  const { send } = openTransport(upstream.url);
  const slow = new Recorder();
  slow.isPausing = true;
  expect(await send({}, "any", slow).over).toBe("error it sent too many small frames");
});

test("An upload waits for the upstream's window", async () => {
  const upstream = await startHttp2Upstream((stream) => void stream.respond({ ":status": 200 }));
  const { send } = openTransport(upstream.url);
  let written = 0;
  const body = {
    start(sink: { write(chunk: Buffer): boolean }) {
      const chunk = Buffer.alloc(16_384);
      while (written < 100 * chunk.length) {
        written += chunk.length;
        if (!sink.write(chunk)) return;
      }
    },
    resume() {},
    stop() {},
  };
  const request = send({ method: "POST", body });
  await eventually(() => request.events.length > 0);
  expect(written).toBeLessThan(10 * 16_384);
});
