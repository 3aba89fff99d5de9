/** Sends bytes over a socket, for tests of framing. */
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface RawAnswer {
  /** Everything received, as latin1. */
  readonly text: string;
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** How the connection ended; `open` when the wait ended first. */
  readonly end: "fin" | "reset" | "open";
}

export interface RawOptions {
  /** Ends the wait as soon as this is received; otherwise the end of the connection does. */
  readonly until?: string | RegExp;
  /** Longest wait, ms. */
  readonly withinMs?: number;
}

/** Sends the bytes (latin1) and collects the response. */
export function rawRequest(
  port: number,
  bytes: string | readonly string[],
  options: RawOptions = {},
): Promise<RawAnswer> {
  const { until, withinMs = 3_000 } = options;
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const finish = (end: RawAnswer["end"]) => {
      clearTimeout(timer);
      socket.destroy();
      const headEnd = text.indexOf("\r\n\r\n");
      resolve({
        text,
        status: Number(text.slice(9, 12)),
        head: headEnd === -1 ? text : text.slice(0, headEnd),
        body: headEnd === -1 ? "" : text.slice(headEnd + 4),
        end,
      });
    };
    const timer = setTimeout(() => finish("open"), withinMs);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (until !== undefined && (typeof until === "string" ? text.includes(until) : until.test(text))) finish("open");
    });
    socket.on("end", () => finish("fin"));
    socket.on("error", () => finish("reset"));
    socket.on("close", () => finish("fin"));
    for (const part of typeof bytes === "string" ? [bytes] : bytes) socket.write(Buffer.from(part, "latin1"));
  });
}

/** A connection for the test to use step by step; destroyed at the end of the test. */
export async function openSocket(port: number): Promise<Socket & { received: string }> {
  const socket = Object.assign(connect(port, "127.0.0.1"), { received: "" });
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    socket.received += chunk.toString("latin1");
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  onTestFinished(() => {
    socket.destroy();
  });
  return socket;
}
