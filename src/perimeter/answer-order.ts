/**
 * The requests of one connection are served one after another, in the order in which they came.
 * Invariant: nothing is served whose answer could not be delivered, because the client left or was told that the
 * connection ends (RFC 9112 section 9.6). Left to itself node:http runs pipelined requests side by side, and tells those
 * in the queue nothing when their client goes.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** Requests that may wait on one connection: more is no client, but a way to fill our memory. */
const WAITING_LIMIT = 100;

type Serve = (req: IncomingMessage, res: ServerResponse) => void;

interface Line {
  last: ServerResponse;
  waiting: number;
}

export interface AnswerOrder {
  serveInTurn(req: IncomingMessage, res: ServerResponse, serve: Serve): void;
  /** The last answer asked for on this connection: when it is over, all before it are. */
  lastOf(socket: Duplex): ServerResponse | undefined;
}

export function createAnswerOrder(): AnswerOrder {
  const lines = new WeakMap<Duplex, Line>();

  function serveIfDeliverable(req: IncomingMessage, res: ServerResponse, serve: Serve): void {
    if (req.socket.writable) serve(req, res);
    // Thrown away unread, so that the answer that ended the connection is not lost to a reset.
    else req.resume();
  }

  return {
    serveInTurn(req, res, serve) {
      const { socket } = req;
      const line = lines.get(socket);
      if (line === undefined) {
        lines.set(socket, { last: res, waiting: 0 });
        return serve(req, res);
      }
      if (!socket.writable) {
        req.resume();
        return;
      }
      const previous = line.last;
      line.last = res;
      if (previous.closed) return serve(req, res);
      line.waiting++;
      if (line.waiting > WAITING_LIMIT) {
        socket.destroy();
        return;
      }
      previous.once("close", () => {
        line.waiting--;
        serveIfDeliverable(req, res, serve);
      });
    },
    lastOf: (socket) => lines.get(socket)?.last,
  };
}
