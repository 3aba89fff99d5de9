/**
 * The HTTP/2 connections of one listener: each of their streams is served as a request of its own.
 * Invariant: a stream ends without its connection, and a connection ends without cutting a stream (GOAWAY first), unless its client breaks
 * the protocol or resets more streams than a connection may.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { GatewayError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { ParserTimes } from "../parser.ts";
import { createStallSweep } from "../stall-sweep.ts";
import { SESSION_OPTIONS } from "./limits.ts";
import { readRequestForm } from "./request-form.ts";
import { ResetBudget } from "./reset-budget.ts";
import { StreamRequest } from "./stream-request.ts";
import { StreamResponse } from "./stream-response.ts";
import { StreamSocket } from "./stream-socket.ts";
import { TerminationCheck } from "./termination-check.ts";

/** How long a client may take to close its connection after the last stream, ms. */
const CLOSE_MS = 5_000;

/** How long a client that connected just before the end has to send its requests, ms. */
const LATE_MS = 500;

/** How often silent connections are checked, ms, at most; and how often within SEND_TIMEOUT. */
const CHECK_MS = 5_000;
const CHECKS = 10;

/** RFC 9113 section 6.8: no stream is refused yet, but the client should open no more. */
const HIGHEST_STREAM = 2 ** 31 - 1;

const TOO_MANY_RESETS = new Error("too many streams were reset");

export interface SessionParts {
  readonly times: ParserTimes;
  /** SEND_TIMEOUT. */
  readonly sendTimeoutMs: number;
  readonly logger: Pick<Logger, "debug">;
  /** Whether the connection is over a cap: it may send one request. */
  readonly isSurplus: (socket: Socket) => boolean;
  /** @param malformed the refusal of a request that has no form in HTTP/1.1. */
  readonly serve: (req: IncomingMessage, res: ServerResponse, malformed: GatewayError | undefined) => void;
}

export interface Sessions {
  /** Takes over a connection whose client chose HTTP/2. */
  accept(socket: Socket): void;
  has(socket: Socket): boolean;
  /** Notifies all clients that the gateway will end; their requests are still served. */
  announceEnd(): void;
  /** Accepts no further stream; each connection ends after its last one. */
  end(): void;
  /** Stops the checks. */
  stop(): void;
}

type OpenStream = StreamResponse | StreamSocket;

export function createSessions(parts: SessionParts): Sessions {
  const sessions = new Map<Socket, ClientSession>();
  const stalls = createStallSweep(parts.sendTimeoutMs, openStreams, (stream) => stream.destroy());

  const checking = setInterval(checkAll, Math.min(CHECK_MS, Math.ceil(parts.sendTimeoutMs / CHECKS))).unref();
  let end: "announced" | "ended" | undefined;

  function* openStreams(): Generator<OpenStream> {
    for (const session of sessions.values()) yield* session.streams;
  }

  function checkAll(): void {
    for (const session of sessions.values()) session.check();
  }

  return {
    accept(socket) {
      const session = new ClientSession(socket, parts);
      sessions.set(socket, session);
      socket.once("close", () => sessions.delete(socket));
      // Its handshake began earlier, and a client that has connected sends its requests.
      if (end !== undefined) session.announceLate(end === "ended");
    },
    has: (socket) => sessions.has(socket),
    announceEnd() {
      end = "announced";
      for (const session of sessions.values()) session.announceEnd();
    },
    end() {
      end = "ended";
      for (const session of sessions.values()) session.end();
    },
    stop() {
      stalls.stop();
      clearInterval(checking);
    },
  };
}

class ClientSession {
  readonly streams = new Set<OpenStream>();
  readonly #socket: Socket;
  readonly #parts: SessionParts;
  readonly #session: ServerHttp2Session;
  readonly #resets = new ResetBudget();
  readonly #termination: TerminationCheck;
  #isClosing = false;
  /** Too many streams were reset: no further one is served. */
  #isRefusing = false;
  /** Until the first request, then whenever there is no stream. */
  #idle: NodeJS.Timeout | undefined;

  constructor(socket: Socket, parts: SessionParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#session = performServerHandshake(socket, SESSION_OPTIONS);
    this.#termination = new TerminationCheck(this.#session, socket);
    this.#session.on("error", (error) => this.#log(error));
    this.#session.on("stream", this.#onStream as (stream: ServerHttp2Stream) => void);
    this.#session.once("close", () => clearTimeout(this.#idle));
    // No frame can come any more. A socket of node:http may be half-open; node:http2 would wait for its streams.
    socket.once("end", () => socket.destroy());
    this.#waitAtMost(parts.times.headersTimeoutMs);
  }

  /** Without a stream its idle timeout ends it. */
  check(): void {
    if (this.streams.size === 0 || this.#session.destroyed || this.#termination.run()) return;
    this.#session.destroy(new Error("its client broke the protocol"));
    this.#socket.destroy();
  }

  announceEnd(): void {
    if (!this.#session.closed && !this.#session.destroyed) {
      this.#session.goaway(constants.NGHTTP2_NO_ERROR, HIGHEST_STREAM);
    }
  }

  /** After its first request: a client that learns of the end before it would repeat it on the next connection, which is no better. */
  announceLate(hasEnded: boolean): void {
    this.#session.once("stream", () => this.announceEnd());
    if (hasEnded) setTimeout(() => this.end(), LATE_MS).unref();
  }

  end(): void {
    if (!this.#session.destroyed) {
      this.#session.close();
      if (this.streams.size > 0) return;
      // A request whose head is not complete would delay the end.
      this.#session.destroy();
    }
    this.#closeSoon();
  }

  readonly #onStream = (
    stream: ServerHttp2Stream,
    _headers: unknown,
    _flags: number,
    fields: readonly string[],
  ): void => {
    // Its error is its reset, which its exchange sees.
    stream.on("error", () => {});
    if (stream.destroyed || stream.closed || this.#isRefusing) return;
    const form = readRequestForm(fields, !stream.endAfterHeaders);
    const { webSocketKey, malformed } = form;
    const socket = webSocketKey === undefined ? undefined : new StreamSocket(stream, this.#socket, webSocketKey);
    const req = new StreamRequest(stream, (socket as unknown as Socket | undefined) ?? this.#socket, form);
    const res = new StreamResponse(stream, req, socket !== undefined);
    clearTimeout(this.#idle);
    this.#termination.reset();
    for (const open of socket === undefined ? [res] : [res, socket]) this.streams.add(open);
    stream.once("close", () => this.#onStreamClose(res, socket));
    if (this.#parts.isSurplus(this.#socket)) this.#session.close();
    this.#parts.serve(req, res as unknown as ServerResponse, malformed);
  };

  #onStreamClose(res: StreamResponse, socket: StreamSocket | undefined): void {
    this.streams.delete(res);
    if (socket !== undefined) this.streams.delete(socket);
    // The end of an open WebSocket is no reset, and that of a handshake is.
    const isReset = !res.writableFinished && !res.wasCut && socket?.isOpen !== true;
    if (isReset && !this.#isRefusing && !this.#resets.take()) {
      this.#isRefusing = true;
      // Later: nghttp2 before 1.68.1 ends the process if it is called while it reads frames (CVE-2026-27135).
      setImmediate(() => {
        if (!this.#session.destroyed) this.#session.destroy(TOO_MANY_RESETS, constants.NGHTTP2_ENHANCE_YOUR_CALM);
        this.#closeSoon();
      });
    }
    if (this.streams.size > 0) return;
    if (this.#session.closed || this.#session.destroyed) this.#closeSoon();
    else this.#waitAtMost(this.#parts.times.keepAliveTimeoutMs);
  }

  /** @param ms 0 for no limit. */
  #waitAtMost(ms: number): void {
    if (ms === 0 || this.#session.destroyed) return;
    this.#idle = setTimeout(() => this.end(), ms).unref();
  }

  /** node:http2 waits until a client has read everything and has closed its side. */
  #closeSoon(): void {
    const socket = this.#socket;
    if (this.#isClosing || socket.destroyed) return;
    this.#isClosing = true;
    let { bytesWritten } = socket;
    const timer = setInterval(() => {
      if (socket.bytesWritten === bytesWritten) socket.destroy();
      bytesWritten = socket.bytesWritten;
    }, CLOSE_MS);
    timer.unref();
    socket.once("close", () => clearInterval(timer));
  }

  #log({ code, message: reason }: NodeJS.ErrnoException): void {
    const { remoteAddress: address } = this.#socket;
    this.#parts.logger.debug({ address, error: code, reason }, "an HTTP/2 connection failed");
  }
}
