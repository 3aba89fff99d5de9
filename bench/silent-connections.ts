/** Thousands of idle connections: measures the memory of each, and that none is dropped or grows. */
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { API_KEY, type RunningGateway } from "./gateway.ts";
import { residentBytes } from "./process-accounting.ts";

const HOLD_MS = 5000;
const TIMEOUT_MS = 20_000;
/** Connections opened at once: a listener's queue of unaccepted connections is shorter than a thousand. */
const BATCH = 100;

/** A kind of idle connection. */
export interface Kind {
  readonly name: string;
  readonly count: number;
  /** Header lines of the request that opens one. */
  readonly request: readonly string[];
  readonly opened: string;
  /** Route of the origin that sends a message on each of them, and that message. */
  readonly wake: string;
  readonly woken: string;
}

export const EVENT_STREAMS: Kind = {
  name: "silent event streams",
  count: 1000,
  request: ["GET /proxy/origin/events HTTP/1.1", "Accept: text/event-stream"],
  opened: "HTTP/1.1 200 ",
  wake: "/events/wake",
  woken: "data: wake",
};

export const WEBSOCKETS: Kind = {
  name: "idle WebSockets",
  count: 2000,
  request: [
    ...["GET /proxy/origin/websocket HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"],
    ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
  ],
  opened: "HTTP/1.1 101 ",
  wake: "/websockets/wake",
  woken: "\x81\x04wake",
};

export interface SilentConnections {
  readonly kind: Kind;
  readonly bytesEach: number;
  /** Growth of the gateway while all of them were open. */
  readonly growthBytes: number;
  readonly heldMs: number;
}

interface OpenConnection {
  readonly socket: Socket;
  received: string;
}

/** Opens them, waits, and then has the origin send a message on each: all must receive it. */
export async function measureSilent(
  kind: Kind,
  gateway: RunningGateway,
  originPort: number,
): Promise<SilentConnections> {
  const before = residentBytes(gateway.pid);
  const open: OpenConnection[] = [];
  try {
    while (open.length < kind.count) {
      for (let i = 0; i < BATCH; i++) open.push(openConnection(kind, gateway.port));
      await untilAll(open, "\r\n\r\n", `${kind.name} opened`);
    }
    const refused = open.find(({ received }) => !received.startsWith(kind.opened));
    if (refused !== undefined) throw new Error(`${kind.name}: expected ${kind.opened}, got ${refused.received}`);
    const opened = residentBytes(gateway.pid);
    await delay(HOLD_MS);
    const held = residentBytes(gateway.pid);
    const woken = (await (await fetch(`http://127.0.0.1:${originPort}${kind.wake}`)).json()) as { open: number };
    if (woken.open !== kind.count) throw new Error(`${kind.name}: the origin has ${woken.open} of ${kind.count} open`);
    await untilAll(open, kind.woken, `${kind.name} still open`);
    return { kind, bytesEach: (held - before) / kind.count, growthBytes: held - opened, heldMs: HOLD_MS };
  } finally {
    for (const { socket } of open) socket.destroy();
  }
}

function openConnection({ request }: Kind, port: number): OpenConnection {
  const socket = connect(port, "127.0.0.1");
  const connection: OpenConnection = { socket, received: "" };
  socket.on("data", (chunk) => {
    connection.received += chunk.toString("latin1");
  });
  // A failed connection is noticed because it never received the message.
  socket.on("error", () => undefined);
  socket.write([...request, `Host: 127.0.0.1:${port}`, `Authorization: Bearer ${API_KEY}`, "", ""].join("\r\n"));
  return connection;
}

async function untilAll(open: readonly OpenConnection[], text: string, what: string): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    const count = open.filter(({ received }) => received.includes(text)).length;
    if (count === open.length) return;
    if (performance.now() > deadline) throw new Error(`only ${count} of ${open.length} ${what}`);
    await delay(20);
  }
}
