/** The origin's event streams: silent ones, and ones whose next event is sent on request. */
import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createEvents } from "./workloads/contents.ts";

interface NumberedStream {
  readonly res: ServerResponse;
  sent: number;
}

export function createStreams() {
  const events = createEvents();
  const silent = new Set<ServerResponse>();
  const numbered = new Map<number, NumberedStream>();

  function begin(res: ServerResponse): void {
    res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    res.flushHeaders();
  }

  function openSilent(res: ServerResponse): void {
    begin(res);
    silent.add(res);
    res.on("close", () => silent.delete(res));
  }

  /** Sends one event to every silent stream: its arrival proves that the stream was still open. @returns their number. */
  function wake(): number {
    for (const res of silent) res.write("data: wake\n\n");
    return silent.size;
  }

  /** Sends the first event. Ends the previous stream of that number, because a relay may keep it open after its client left. */
  function openNumbered(number: number, res: ServerResponse): void {
    numbered.get(number)?.res.end();
    numbered.set(number, { res, sent: 0 });
    begin(res);
    sendNext(number);
  }

  function sendNext(number: number): void {
    const stream = numbered.get(number);
    stream?.res.write(events[stream.sent++ % events.length]!);
  }

  /** Each byte that arrives asks for the next event of the stream with that number. */
  function sendOnRequest(socket: Duplex): void {
    socket.on("data", (numbers: Buffer) => numbers.forEach(sendNext));
  }

  return { openSilent, wake, openNumbered, sendOnRequest };
}
