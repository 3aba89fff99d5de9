/** The ways in which an upstream can be: what it does with a request that it was sent. */
import type { Socket } from "node:net";
import { DEADLINE_MS } from "./limits.ts";

/** A request or a WebSocket handshake, with its head read. */
export interface Asked {
  readonly socket: Socket;
  /** What a healthy upstream would send. */
  readonly body: string;
  /** Answers as a healthy upstream does. */
  proceed(): void;
  /** Once the request's body is here; most misbehave before it is. */
  whenReceived(then: () => void): void;
}

type Behaviour = (asked: Asked) => void;

/** Longer than the deadline for an answer's headers, and never silent for long. */
const SLICES = 30;
const SLICE_PAUSE_MS = 100;
const RESET_AFTER_MS = 10;

const headOf = (framing: string) => `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n${framing}\r\n\r\n`;
const lengthOf = (body: string) => `Content-Length: ${body.length}`;
const half = (body: string) => body.slice(0, body.length / 2);

/** `resetsOnAccept` is held to by the listener too. */
export const BEHAVIOURS = {
  healthy: ({ proceed }) => proceed(),
  answersLate: ({ proceed }) => void setTimeout(proceed, 3 * DEADLINE_MS),
  trickles: ({ socket, body, whenReceived }) =>
    whenReceived(() => {
      socket.write(headOf(lengthOf(body)));
      trickle(socket, body);
    }),
  resetsOnAccept: ({ socket }) => socket.resetAndDestroy(),
  resetsAfterHead: ({ socket, body }) => thenReset(socket, headOf(lengthOf(body))),
  resetsUnframedBody: ({ socket, body }) => thenReset(socket, `${headOf("Connection: close")}${half(body)}`),
  speaksGarbage: ({ socket }) => socket.end("\x16\x03 this is not HTTP \x00\r\n\r\n"),
  endsInHead: ({ socket }) => socket.end("HTTP/1.1 200 OK\r\nContent-Len"),
  endsInLength: ({ socket, body }) => socket.end(`${headOf(lengthOf(body))}${half(body)}`),
  endsInChunks: ({ socket, body }) => socket.end(`${headOf("Transfer-Encoding: chunked")}${chunk(half(body))}`),
  /** Says nothing of it, and closes behind each answer: the next request may be on its way already. */
  closesAfterAnswer: ({ socket, body, whenReceived }) =>
    whenReceived(() => socket.end(`${headOf(lengthOf(body))}${body}`)),
  unavailable: ({ socket }) =>
    socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
} satisfies Record<string, Behaviour>;

export type BehaviourName = keyof typeof BEHAVIOURS;

function thenReset(socket: Socket, text: string): void {
  // Behind the bytes, not in their place: a reset throws away what was not read yet.
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
