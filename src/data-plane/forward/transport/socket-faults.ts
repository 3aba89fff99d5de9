/**
 * Corrects what node:net concludes from the faults of a socket.
 * Invariant: a response that was received is read before its connection is given up, and a reset is never taken for an end.
 */
import type { Socket } from "node:net";

/** How long the response of an upstream that reads no more of the request may take to be read, ms. */
const LAST_RESPONSE_MS = 1_000;

/** Called before the socket is used. */
export function correctFaults(socket: Socket): void {
  readBeforeClosing(socket);
  distinguishResetFromEnd(socket);
}

/** For a socket that carries another protocol from now on: the corrections cost time for each chunk. */
export function restoreFaults(socket: Socket): void {
  const { push, _write, _writev } = Object.getPrototypeOf(socket) as Socket;
  // Not deleted: an object that loses a property becomes a dictionary, and every access to it slower.
  Object.assign(socket, { push, _write, _writev });
}

/**
 * A reset that arrives together with the last bytes looks like an end: libuv reads those bytes, sees the hang-up and asks no
 * further. But a socket that was reset has no remote address any more, while one that was ended still has it.
 */
function distinguishResetFromEnd(socket: Socket): void {
  const { push } = socket;
  socket.push = (chunk, encoding) => {
    if (chunk !== null || hasPeer(socket)) return push.call(socket, chunk, encoding);
    socket.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }));
    return false;
  };
}

/** Asks the operating system: node:net remembers a `remoteAddress` that was read before. A Unix socket has no addresses at all. */
function hasPeer(socket: Socket): boolean {
  const { _handle } = socket as unknown as { _handle: { getpeername?: (found: object) => number } | null };
  return _handle?.getpeername === undefined || _handle.getpeername({}) === 0;
}

/**
 * A server that responds in the middle of an upload (413) and closes makes the next write fail, and a failed write would destroy
 * the socket with the response unread in it. So the failure is delayed, which also stops the upload, while the received bytes are
 * read: a response, or an end that says the same as the failure.
 */
function readBeforeClosing(socket: Socket): void {
  type Callback = (error?: NodeJS.ErrnoException | null) => void;
  const delay = (done: Callback): Callback => {
    return (error) => {
      if (error?.code !== "EPIPE" && error?.code !== "ECONNRESET") return done(error);
      const timer = setTimeout(done, LAST_RESPONSE_MS, error);
      timer.unref();
      socket.once("close", () => clearTimeout(timer));
    };
  };
  const { _write, _writev } = socket;
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, delay(done));
  socket._writev = (chunks, done) => _writev?.call(socket, chunks, delay(done));
}
