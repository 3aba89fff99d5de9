/** One connection to an upstream, over real sockets: what makes it one that carries no other request. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Dial } from "../../../../src/data-plane/forward/egress.ts";
import { correctFaults } from "../../../../src/data-plane/forward/transport/socket-faults.ts";
import { createTransport } from "../../../../src/data-plane/forward/transport/transport.ts";
import type {
  BodySink,
  BodySource,
  Flow,
  ResponseListener,
  TransportRequest,
} from "../../../../src/data-plane/forward/transport/transport-contract.ts";
import { eventually } from "../../../support/eventually.ts";
import { respondWith, startRawUpstream } from "../../../support/upstream.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A body that is sent step by step. */
class Steps implements BodySource {
  sink: BodySink | undefined;
  start(sink: BodySink): void {
    this.sink = sink;
  }
  resume(): void {}
  stop(): void {
    this.sink = undefined;
  }
}

/** The events of one request. */
class Recorder implements ResponseListener {
  readonly events: string[] = [];
  flow: Flow | undefined;
  readonly over: Promise<void>;
  #resolve!: () => void;

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
  onInterimResponse(): void {
    this.events.push("interim");
  }
  onResponseStart(_flow: Flow, status: number): void {
    this.events.push(`start ${status}`);
  }
  onResponseData(_flow: Flow, chunk: Buffer): void {
    this.events.push(`data ${chunk.toString("latin1")}`);
  }
  onResponseEnd(_flow: Flow, _trailers: object, last: Buffer | undefined): void {
    this.events.push(`end ${last?.toString("latin1") ?? ""}`);
    this.#resolve();
  }
  onResponseError(error: Error): void {
    this.events.push(`error ${error.message}`);
    this.#resolve();
  }
  onUpgrade(): void {}
}

function startTransport(port: number, limits: { maxConnections?: number } = {}) {
  const sockets: Socket[] = [];
  const dial: Dial = Object.assign(
    (_: unknown, callback: Parameters<Dial>[1]) => {
      const socket = connect(port, "127.0.0.1", () => callback(null, socket));
      sockets.push(socket);
    },
    { resolve: () => {} },
  );
  const all = { maxConnections: 10, maxPending: 10, idleConnectionMs: 60_000, maxConnectionAgeMs: 60_000, ...limits };
  const transport = createTransport(dial, all);
  onTestFinished(() => transport.close());
  const send = (also: Partial<TransportRequest> = {}, listener = new Recorder()) => {
    const request = { party: "", origin: `http://127.0.0.1:${port}`, method: "GET", path: "/", headers: [] };
    transport.dispatch({ ...request, body: null, contentLength: undefined, ...also }, listener, "any");
    return listener;
  };
  return { transport, send, sockets };
}

describe("upload", () => {
  /** Sends the chunks as a body of 4 bytes, and waits for the end of the request. */
  async function upload(...chunks: string[]) {
    const upstream = await startRawUpstream((socket, received) => {
      if (received.endsWith("body")) socket.write(OK);
    });
    const { send } = startTransport(upstream.port);
    const body = new Steps();
    const request = send({ method: "POST", body, contentLength: 4 });
    const sink = await eventually(() => body.sink, "the start of the body");
    for (const chunk of chunks) sink.write(Buffer.from(chunk));
    sink.end();
    await request.over;
    return { events: request.events, received: upstream.received.join("").split("\r\n\r\n")[1] ?? "", upstream };
  }

  test("A body of the announced length is sent", async () => {
    expect(await upload("bo", "", "dy")).toMatchObject({ events: ["start 200", "end ok"], received: "body" });
  });

  test.each([
    ["longer", ["body", "!"]],
    ["shorter", ["bo"]],
  ])(
    "A body that is %s than announced ends its connection, and no byte beyond the length is sent",
    async (how, chunks) => {
      const { events, received, upstream } = await upload(...chunks);
      expect(events).toEqual([`error the request body is ${how} than announced`]);
      expect("body".startsWith(received)).toBe(true);
      await eventually(() => upstream.sockets.size === 0, "the end of the connection");
    },
  );

  test("A response before the end of the body is delivered, and its connection carries no other request", async () => {
    const upstream = await startRawUpstream((socket) => socket.write(OK));
    const { send, transport } = startTransport(upstream.port);
    const body = new Steps();
    const request = send({ method: "POST", body, contentLength: 4 });
    await request.over;
    expect(request.events).toEqual(["start 200", "end ok"]);
    expect(body.sink).toBeUndefined();
    await eventually(() => upstream.sockets.size === 0, "the end of the connection");
    expect(transport.connections().open).toBe(0);
  });

  test("A response before the request was read is delivered, and its connection carries no other request", async () => {
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on("error", () => {});
      socket.write(OK);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { send, transport } = startTransport((server.address() as { port: number }).port);
    const request = send({ method: "POST", body: Buffer.alloc(32 * 1_048_576) });
    await request.over;
    expect(request.events).toEqual(["start 200", "end ok"]);
    await eventually(() => transport.connections().open === 0, "the end of the connection");
  });
});

describe("error of a listener", () => {
  class Failing extends Recorder {
    constructor(at: "onInterimResponse" | "onResponseStart" | "onResponseData" | "onResponseEnd") {
      super();
      this[at] = () => {
        throw new Error(`in ${at}`);
      };
    }
  }

  test.each(["onInterimResponse", "onResponseStart", "onResponseData", "onResponseEnd"] as const)(
    "An error in %s ends that request and its connection, and the next request is served",
    async (at) => {
      const bytes = "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
      const upstream = await startRawUpstream((socket) => {
        socket.write(bytes);
        setTimeout(() => socket.write("0\r\n\r\n"), 10);
      });
      const { send, transport } = startTransport(upstream.port, { maxConnections: 1 });
      const request = send({}, new Failing(at));
      const next = send();
      await request.over;
      expect(request.events.at(-1)).toBe(`error in ${at}`);
      await next.over;
      expect(next.events).toEqual(["interim", "start 200", "data ok", "end "]);
      expect(upstream.received).toHaveLength(2);
      expect(transport.connections().busy).toBeLessThanOrEqual(1);
    },
  );

  test("An error in onResponseData for the bytes before a malformed chunk does not leave the transport", async () => {
    const upstream = await startRawUpstream(
      respondWith("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"),
    );
    const { send } = startTransport(upstream.port);
    const request = send({}, new Failing("onResponseData"));
    await request.over;
    expect(request.events.at(-1)).toMatch(/^error a chunk has no size/);
  });
});

describe("long-lived connection", () => {
  test("Twenty requests, with and without bodies, leave no listener, no cork and no pause on their connection", async () => {
    const upstream = await startRawUpstream((socket, received) => {
      const isUpload = received.lastIndexOf("POST /") > received.lastIndexOf("GET /");
      if (received.endsWith(isUpload ? "\r\n0\r\n\r\n" : "\r\n\r\n")) socket.write(OK);
    });
    const { send, sockets, transport } = startTransport(upstream.port);
    const counts = () => {
      const [socket] = sockets as [Socket];
      return socket.eventNames().map((name) => [name, socket.listenerCount(name)]);
    };
    let before: unknown;
    for (let i = 0; i < 20; i++) {
      const body = new Steps();
      const request = send(i % 2 === 0 ? { method: "POST", body } : {});
      if (i % 2 === 0) {
        const sink = await eventually(() => body.sink, "the start of the body");
        sink.write(Buffer.from("x"));
        sink.end();
      }
      request.flow?.pause();
      request.flow?.resume();
      await request.over;
      // Without effect: its response is over.
      request.flow?.pause();
      request.flow?.abort(new Error("late"));
      await eventually(() => transport.connections().idle === 1, "the idle connection");
      before ??= counts();
    }
    expect(counts()).toEqual(before);
    expect(sockets).toHaveLength(1);
    expect(sockets[0]).toMatchObject({ writableCorked: 0, writableLength: 0 });
    expect(sockets[0]?.isPaused()).toBe(false);
  });

  test("A connection whose response ended while it was paused is read again for the next request", async () => {
    const upstream = await startRawUpstream(respondWith(OK));
    const { send, sockets, transport } = startTransport(upstream.port);
    const pausing = new Recorder();
    pausing.onResponseStart = (flow) => flow.pause();
    await send({}, pausing).over;
    await eventually(() => transport.connections().idle === 1, "the idle connection");
    const next = send();
    await next.over;
    expect(next.events).toEqual(["start 200", "end ok"]);
    expect(sockets).toHaveLength(1);
  });
});

test("A reset that arrives with the last bytes is no end, also if the address of the connection was read before", async () => {
  const upstream = await startRawUpstream((socket) => {
    socket.write("half");
    socket.resetAndDestroy();
  });
  const socket = connect(upstream.port, "127.0.0.1");
  correctFaults(socket);
  await once(socket, "connect");
  expect(socket.remoteAddress).toBe("127.0.0.1");
  const ends: string[] = [];
  socket.on("data", () => {});
  socket.on("end", () => ends.push("end"));
  socket.on("error", (error: NodeJS.ErrnoException) => ends.push(String(error.code)));
  socket.write("x");
  await once(socket, "close").catch(() => {});
  await eventually(() => socket.closed, "the close");
  expect(ends).toEqual(["ECONNRESET"]);
});
