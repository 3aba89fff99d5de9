/**
 * HTTP to one service's upstream: the only importer of undici.
 * Invariant: connections, TLS settings and credentials of two services never mix, because each service has its own pools.
 */
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { type buildConnector, type Dispatcher, errors, Pool } from "undici";
import type { PoolState } from "../../registry/pool-state.ts";
import type { Dial } from "./egress.ts";

/** Upstream answers may have larger headers than we accept from clients: CSP and Link lists are long. */
export const ANSWER_HEADER_BYTES_LIMIT = 65_536;

/** Idle upstream connections are closed after this many ms, sooner than most servers would. */
const IDLE_CONNECTION_MS = 4_000;

/** What an attempt is told, in undici's own shape so that nothing is wrapped a second time on the hot path. */
export interface AnswerListener {
  onRequestStart(flow: Flow): void;
  /** Also called for informational answers (1xx). Names are lower-case; a repeated header is an array. */
  onResponseStart(flow: Flow, status: number, headers: AnswerHeaders, reason?: string): void;
  onResponseData(flow: Flow, chunk: Buffer): void;
  onResponseEnd(flow: Flow, trailers: AnswerHeaders): void;
  onResponseError(flow: Flow | undefined, error: Error): void;
}

export type Flow = Pick<Dispatcher.DispatchController, "pause" | "resume" | "abort">;
export type AnswerHeaders = Record<string, string | string[] | undefined>;

export interface TransportRequest {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: Buffer | Readable | null;
}

export interface Transport {
  /** Sends one request; every outcome, errors included, goes to the listener. */
  dispatch(request: TransportRequest, listener: AnswerListener): void;
  /** Over all of its pools. */
  connections(): PoolState;
  close(): Promise<void>;
}

export function createTransport(dial: Dial): Transport {
  const connect = mendErrors(dial);
  const pools = new Map<string, Pool>();
  let isClosed = false;

  function poolOf(origin: string): Pool {
    let pool = pools.get(origin);
    if (pool === undefined) {
      pool = new Pool(origin, {
        connect,
        keepAliveTimeout: IDLE_CONNECTION_MS,
        maxHeaderSize: ANSWER_HEADER_BYTES_LIMIT,
        // Deadlines are the exchange's own: undici cuts a silent body at 300 s and counts in coarse ticks.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      pools.set(origin, pool);
    }
    return pool;
  }

  return {
    dispatch(request, listener) {
      // A retry that comes too late must not open what was closed.
      if (isClosed) return queueMicrotask(() => listener.onResponseError(undefined, new errors.ClientDestroyedError()));
      // undici reads what it knows of the request and leaves the rest: no copy is made for it.
      poolOf(request.origin).dispatch(request as Dispatcher.DispatchOptions, listener as Dispatcher.DispatchHandler);
    },
    connections() {
      const all = [...pools.values()].map(({ stats }) => stats);
      const sum = (name: "connected" | "free" | "running" | "queued") =>
        all.reduce((total, each) => total + each[name], 0);
      return { open: sum("connected"), idle: sum("free"), running: sum("running"), queued: sum("queued") };
    },
    async close() {
      isClosed = true;
      await Promise.all([...pools.values()].map((pool) => pool.destroy()));
      pools.clear();
    },
  };
}

/**
 * Two of undici's conclusions from a socket's error are mended here, by the code that they are drawn from.
 * ECONNRESET on a connection that will not be kept passes for the clean end of a body without a length, and asserts while
 * that body is paused: under another code it is what it is, a cut. And a request that was aborted is put back into its
 * queue, for which a new connection is opened, only to be thrown away there.
 */
function mendErrors(dial: Dial): buildConnector.connector {
  return (options, callback) => {
    dial(options, (...outcome) => {
      const socket = (outcome[1] ?? undefined) as Socket | undefined;
      if (socket !== undefined) {
        readBeforeGivingUp(socket);
        socket.prependListener("error", (error: NodeJS.ErrnoException) => {
          if (error.code === "ECONNRESET") error.code = "ERESETBYPEER";
          else if (error.code === "UND_ERR_INFO" && error.message === "aborted") error.code = "UND_ERR_ABORTED";
        });
      }
      callback(...outcome);
    });
  };
}

/** How long the answer of an upstream that takes no more of the request may take to be read, ms. */
const LAST_WORDS_MS = 1_000;

/**
 * A server that answers in the middle of an upload (413) and closes makes the next write fail, and a failed write would
 * destroy the socket with the answer unread in it. So the failure is held back, which also stops the upload, while what
 * was received is read: an answer, or the end that says the same as the failure.
 */
function readBeforeGivingUp(socket: Socket): void {
  type Callback = (error?: NodeJS.ErrnoException | null) => void;
  const hold = (done: Callback): Callback => {
    return (error) => {
      if (error?.code !== "EPIPE" && error?.code !== "ECONNRESET") return done(error);
      const timer = setTimeout(done, LAST_WORDS_MS, error);
      timer.unref();
      socket.once("close", () => clearTimeout(timer));
    };
  };
  const { _write, _writev } = socket;
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, hold(done));
  socket._writev = (chunks, done) => _writev?.call(socket, chunks, hold(done));
}
