/** What an upstream does with a request, healthy or not. */
import type { Socket } from "node:net";
import { DEADLINE_MS } from "./limits.ts";

/** A request or a WebSocket handshake, with its head read. */
export interface Received {
  readonly socket: Socket;
  /** What a healthy upstream would send. */
  readonly body: string;
  /** Responds as a healthy upstream does. */
  proceed(): void;
  /** Runs when the request's body has arrived; most behaviours do not wait for it. */
  whenReceived(then: () => void): void;
}

type Behaviour = (received: Received) => void;

/** Together longer than the deadline for a response's headers, but never silent for long. */
const SLICES = 30;
const SLICE_PAUSE_MS = 100;
const RESET_AFTER_MS = 10;

const headOf = (framing: string) => `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n${framing}\r\n\r\n`;
const lengthOf = (body: string) => `Content-Length: ${body.length}`;
const half = (body: string) => body.slice(0, body.length / 2);

/** The listener applies `resetsOnAccept`, too. */
export const BEHAVIOURS = {
  healthy: ({ proceed }) => proceed(),
  respondsLate: ({ proceed }) => void setTimeout(proceed, 3 * DEADLINE_MS),
  trickles: ({ socket, body, whenReceived }) =>
    whenReceived(() => {
      socket.write(headOf(lengthOf(body)));
      trickle(socket, body);
    }),
  resetsOnAccept: ({ socket }) => socket.resetAndDestroy(),
  resetsAfterHead: ({ socket, body }) => thenReset(socket, headOf(lengthOf(body))),
  resetsUnframedBody: ({ socket, body }) => thenReset(socket, `${headOf("Connection: close")}${half(body)}`),
  sendsGarbage: ({ socket }) => socket.end("\x16\x03 this is not HTTP \x00\r\n\r\n"),
  endsInHead: ({ socket }) => socket.end("HTTP/1.1 200 OK\r\nContent-Len"),
  endsInLength: ({ socket, body }) => socket.end(`${headOf(lengthOf(body))}${half(body)}`),
  endsInChunks: ({ socket, body }) => socket.end(`${headOf("Transfer-Encoding: chunked")}${chunk(half(body))}`),
  /** Closes after each response without announcing it: the next request may already be in transit. */
  closesAfterResponse: ({ socket, body, whenReceived }) =>
    whenReceived(() => socket.end(`${headOf(lengthOf(body))}${body}`)),
  unavailable: ({ socket }) =>
    socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
} satisfies Record<string, Behaviour>;

export type BehaviourName = keyof typeof BEHAVIOURS;

function thenReset(socket: Socket, text: string): void {
  // After a pause, because a reset discards bytes that were not read yet.
  socket.write(text, () => setTimeout(() => socket.resetAndDestroy(), RESET_AFTER_MS));
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

function trickle(socket: Socket, text: string): void {
  const sliceLength = Math.ceil(text.length / SLICES);
  let sent = 0;
  const timer = setInterval(() => {
    socket.write(text.slice(sent, sent + sliceLength));
    sent += sliceLength;
    if (sent >= text.length) socket.end();
  }, SLICE_PAUSE_MS);
  socket.once("close", () => clearInterval(timer));
  socket.once("finish", () => clearInterval(timer));
}
