/**
 * An upstream that misbehaves on command: a process of its own, so that it can be killed and frozen.
 * Its argument is the port, 0 for a free one. Over the IPC channel it reports the port and the requests that reached it, and receives
 * its behaviour.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer } from "ws";
import { BEHAVIOURS, type BehaviourName } from "./behaviours.ts";
import { eventsOf, idOf, responseTo, uploadOf } from "./contents.ts";

export type UpstreamOrder =
  | { readonly kind: "behave"; readonly as: BehaviourName }
  | { readonly kind: "seen"; readonly ids: readonly string[] };
export type UpstreamReport =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "behaving" }
  | { readonly kind: "seen"; readonly ids: readonly string[] };

const EVENT_PAUSE_MS = 20;
/** More than all buffers in between hold. */
const BIG_BODY = Buffer.alloc(16 * 2 ** 20, "x");
/** Older requests are not asked for any more. */
const SEEN_LIMIT = 50_000;

let behaviour: BehaviourName = "healthy";
const seen = new Set<string>();
const webSockets = new WebSocketServer({ noServer: true });

const server = createServer((req, res) => {
  note(req);
  const body = responseTo(req.url!);
  const whenReceived = (then: () => void) => void req.resume().once("end", then);
  BEHAVIOURS[behaviour]({ socket: req.socket, body, proceed: () => respond(req, res), whenReceived });
});
server.on("connection", (socket: Socket) => {
  socket.on("error", () => socket.destroy());
  if (behaviour === "resetsOnAccept") socket.resetAndDestroy();
});
server.on("upgrade", (req, socket: Socket, head) => {
  note(req);
  const proceed = () =>
    webSockets.handleUpgrade(req, socket, head, (webSocket) => {
      webSocket.on("error", () => webSocket.terminate());
      webSocket.on("message", (data, isBinary) => webSocket.send(data, { binary: isBinary }));
    });
  BEHAVIOURS[behaviour]({ socket, body: "", proceed, whenReceived: (then) => then() });
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  report({ kind: "listening", port: (server.address() as AddressInfo).port });
});

function respond(req: IncomingMessage, res: ServerResponse): void {
  const id = idOf(req.url!);
  if (req.url!.startsWith("/events/")) return stream(res, eventsOf(id));
  if (req.url!.startsWith("/big/")) return void res.end(BIG_BODY);
  if (req.method === "GET") return void res.end(responseTo(req.url!));
  let upload = "";
  req.on("data", (text: Buffer) => {
    upload += text.toString("latin1");
  });
  req.on("end", () => res.writeHead(upload === uploadOf(id) ? 200 : 400).end(responseTo(req.url!)));
}

function stream(res: ServerResponse, events: string[]): void {
  res.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
  const timer = setInterval(() => {
    const event = events.shift();
    if (event !== undefined) return void res.write(event);
    clearInterval(timer);
    res.end();
  }, EVENT_PAUSE_MS);
  res.once("close", () => clearInterval(timer));
}

function note(req: IncomingMessage): void {
  seen.add(idOf(req.url!));
  if (seen.size > SEEN_LIMIT) seen.delete(seen.values().next().value!);
}

function report(message: UpstreamReport): void {
  process.send!(message);
}

process.on("message", (order: UpstreamOrder) => {
  if (order.kind === "seen") return report({ kind: "seen", ids: order.ids.filter((id) => seen.has(id)) });
  behaviour = order.as;
  report({ kind: "behaving" });
});
process.on("disconnect", () => process.exit(0));
