/**
 * Serves the requests of one connection one after another, in the order in which they came.
 * Invariant: a request is not served when its response could not be delivered, because the client left, or an
 * earlier response said `Connection: close` (RFC 9112 section 9.6). node:http alone would run pipelined requests
 * concurrently and would not notify queued ones when their client leaves.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** Requests that may wait on one connection: only an attacker that wants to fill memory sends more. */
const WAITING_LIMIT = 100;

type Serve = (req: IncomingMessage, res: ServerResponse) => void;

interface Queue {
  last: ServerResponse;
  waiting: number;
  /** Called in place of serving the last request. */
  refuseLast?: () => void;
}

export interface AnswerOrder {
  serveInOrder(req: IncomingMessage, res: ServerResponse, serve: Serve): void;
  /** The response to the last request of this connection: when it is closed, all before it are. */
  lastOf(socket: Duplex): ServerResponse | undefined;
  /** Refuses the last request of this connection when its turn comes. @returns false if it is being served already. */
  refuseWaiting(socket: Duplex, refuse: () => void): boolean;
}

export function createAnswerOrder(): AnswerOrder {
  const queues = new WeakMap<Duplex, Queue>();

  function takeTurn(queue: Queue, req: IncomingMessage, res: ServerResponse, serve: Serve): void {
    // Discarded unread, so that no reset destroys the response that ended the connection.
    if (!req.socket.writable) req.resume();
    else if (queue.refuseLast !== undefined && queue.last === res) queue.refuseLast();
    else serve(req, res);
  }

  return {
    serveInOrder(req, res, serve) {
      const { socket } = req;
      const queue = queues.get(socket);
      if (queue === undefined) {
        queues.set(socket, { last: res, waiting: 0 });
        return serve(req, res);
      }
      if (!socket.writable) {
        req.resume();
        return;
      }
      const previous = queue.last;
      queue.last = res;
      if (previous.closed) return serve(req, res);
      queue.waiting++;
      if (queue.waiting > WAITING_LIMIT) {
        socket.destroy();
        return;
      }
      previous.once("close", () => {
        queue.waiting--;
        takeTurn(queue, req, res, serve);
      });
    },
    lastOf: (socket) => queues.get(socket)?.last,
    refuseWaiting(socket, refuse) {
      const queue = queues.get(socket);
      if (queue === undefined || queue.waiting === 0) return false;
      queue.refuseLast = refuse;
      return true;
    },
  };
}
