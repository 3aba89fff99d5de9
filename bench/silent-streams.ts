/** A thousand event streams on which nothing happens: what each costs, and that none of them is dropped. */
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { API_KEY, type RunningGateway } from "./gateway.ts";
import { residentBytes } from "./process-accounting.ts";

export const STREAMS = 1000;
const HOLD_MS = 5000;
const PATIENCE_MS = 20_000;
/** Opened at once, not all at once: a listener's queue of half-accepted connections is shorter than a thousand. */
const BATCH = 100;

export interface SilentStreams {
  readonly bytesPerStream: number;
  readonly heldMs: number;
}

interface OpenStream {
  readonly socket: Socket;
  received: string;
}

/** Opens the streams, holds them, then has the origin speak once on each: all must hear it. */
export async function measureSilentStreams(gateway: RunningGateway, originPort: number): Promise<SilentStreams> {
  const before = residentBytes(gateway.pid);
  const streams: OpenStream[] = [];
  try {
    while (streams.length < STREAMS) {
      for (let i = 0; i < BATCH; i++) streams.push(openStream(gateway.port));
      await untilAll(streams, "\r\n\r\n", "opened");
    }
    const refused = streams.find(({ received }) => !received.startsWith("HTTP/1.1 200 "));
    if (refused !== undefined) throw new Error(`silent streams: expected 200, got ${refused.received}`);
    await delay(HOLD_MS);
    const during = residentBytes(gateway.pid);
    const woken = (await (await fetch(`http://127.0.0.1:${originPort}/events/wake`)).json()) as { open: number };
    if (woken.open !== STREAMS) throw new Error(`silent streams: the origin has ${woken.open} of ${STREAMS} open`);
    await untilAll(streams, "data: wake", "still open");
    return { bytesPerStream: (during - before) / STREAMS, heldMs: HOLD_MS };
  } finally {
    for (const { socket } of streams) socket.destroy();
  }
}

function openStream(port: number): OpenStream {
  const socket = connect(port, "127.0.0.1");
  const stream: OpenStream = { socket, received: "" };
  socket.on("data", (chunk) => {
    stream.received += chunk.toString("latin1");
  });
  // A stream that fails is told by what it never received.
  socket.on("error", () => undefined);
  socket.write(
    `GET /proxy/origin/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${API_KEY}\r\nAccept: text/event-stream\r\n\r\n`,
  );
  return stream;
}

async function untilAll(streams: readonly OpenStream[], text: string, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const count = streams.filter(({ received }) => received.includes(text)).length;
    if (count === streams.length) return;
    if (performance.now() > deadline) throw new Error(`silent streams: only ${count} of ${streams.length} ${what}`);
    await delay(20);
  }
}
