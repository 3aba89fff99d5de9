/**
 * What undici is told of a socket's errors.
 * Invariant: an answer that was received is read before its connection is given up, and a cut is never taken for an end.
 */
import type { Socket } from "node:net";
import type { Dial } from "../egress.ts";

/**
 * Two of undici's conclusions from a socket's error are mended here, by the code that they are drawn from.
 * ECONNRESET on a connection that will not be kept passes for the clean end of a body without a length, and asserts while
 * that body is paused: under another code it is what it is, a cut. And a request that was aborted is put back into its
 * queue, for which a new connection is opened, only to be thrown away there.
 */
export function mendErrors(dial: Dial): Dial {
  return (options, callback) => {
    dial(options, (...outcome) => {
      const socket = (outcome[1] ?? undefined) as Socket | undefined;
      if (socket !== undefined) {
        readBeforeGivingUp(socket);
        tellResetFromEnd(socket);
        socket.prependListener("error", (error: NodeJS.ErrnoException) => {
          if (error.code === "ECONNRESET") error.code = "ERESETBYPEER";
          else if (error.code === "UND_ERR_INFO" && error.message === "aborted") error.code = "UND_ERR_ABORTED";
        });
      }
      callback(...outcome);
    });
  };
}

/**
 * A reset that arrives together with the last bytes before it looks like an end: libuv reads those, sees the hang-up, and asks no
 * further. But a connection that was reset has nobody on its other side any more, while one that was ended still has.
 */
function tellResetFromEnd(socket: Socket): void {
  const { push } = socket;
  socket.push = (chunk, encoding) => {
    // A Unix socket has no addresses at all.
    if (chunk !== null || socket.remoteAddress !== undefined || socket.localAddress === undefined) {
      return push.call(socket, chunk, encoding);
    }
    socket.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ERESETBYPEER" }));
    return false;
  };
}

/** How long the answer of an upstream that takes no more of the request may take to be read, ms. */
const LAST_WORDS_MS = 1_000;

/**
 * A server that answers in the middle of an upload (413) and closes makes the next write fail, and a failed write would
 * destroy the socket with the answer unread in it. So the failure is held back, which also stops the upload, while what
 * was received is read: an answer, or the end that says the same as the failure.
 */
function readBeforeGivingUp(socket: Socket): void {
  type Callback = (error?: NodeJS.ErrnoException | null) => void;
  const hold = (done: Callback): Callback => {
    return (error) => {
      if (error?.code !== "EPIPE" && error?.code !== "ECONNRESET") return done(error);
      const timer = setTimeout(done, LAST_WORDS_MS, error);
      timer.unref();
      socket.once("close", () => clearTimeout(timer));
    };
  };
  const { _write, _writev } = socket;
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, hold(done));
  socket._writev = (chunks, done) => _writev?.call(socket, chunks, hold(done));
}
