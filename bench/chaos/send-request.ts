/**
 * One request of each kind, and its outcome.
 * Invariant: each request ends, at the latest after HUNG_MS, and only the exact bytes that the upstream sent count as served.
 */
import { type Agent, type IncomingMessage, request } from "node:http";
import { WebSocket } from "ws";
import { CATALOG } from "../../src/error-catalog.ts";
import { responseTo, uploadOf } from "./contents.ts";
import { HUNG_MS } from "./limits.ts";
import type { Ended } from "./tally.ts";

export interface RequestTarget {
  readonly id: string;
  readonly port: number;
  readonly serviceKey: string;
  readonly agent: Agent;
}

export type Send = (target: RequestTarget) => Promise<Ended>;

/** A healthy upstream responds at once, so its duration is meaningful. */
export function isPlain(index: number): boolean {
  return senderOf(index) === sendGet;
}

/** Of twenty requests: thirteen GET, four POST, a replayable PUT, an event stream and a WebSocket. */
export function senderOf(index: number): Send {
  const place = index % 20;
  if (place === 7) return sendEvents;
  if (place === 13) return sendWebSocket;
  if (place === 17) return sendPut;
  return place % 5 === 0 ? sendPost : sendGet;
}

const sendGet: Send = (target) => sendHttp(target, "GET", `/item/${target.id}`);
const sendPut: Send = (target) => sendHttp(target, "PUT", `/item/${target.id}`);
const sendPost: Send = (target) => sendHttp(target, "POST", `/item/${target.id}`);
const sendEvents: Send = (target) => sendHttp(target, "GET", `/events/${target.id}`);

const NO_RESPONSE: Ended = { outcome: "dropped", detail: "the connection was closed without a response" };

function sendHttp({ id, port, serviceKey, agent }: RequestTarget, method: string, path: string): Promise<Ended> {
  return new Promise((resolve) => {
    const req = request({ host: "127.0.0.1", port, agent, method, path: `/proxy/${serviceKey}${path}` });
    const timer = setTimeout(
      () => end({ outcome: "hung", detail: `${method} ${path}: no end after ${HUNG_MS} ms` }),
      HUNG_MS,
    );
    const end = (ended: Ended) => {
      clearTimeout(timer);
      resolve(ended);
      if (ended.outcome === "hung") req.destroy();
    };
    let hasResponse = false;
    req.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") end({ outcome: "not accepted" });
      // After a response, the error only means that the rest of the upload was not read.
      else if (!hasResponse) end(NO_RESPONSE);
    });
    req.on("response", (res: IncomingMessage) => {
      hasResponse = true;
      let text = "";
      res.setEncoding("latin1").on("data", (chunk: string) => {
        text += chunk;
      });
      res.on("error", () => end({ outcome: "cut" }));
      res.on("end", () => end(judge(res, text, responseTo(path))));
    });
    if (method === "GET") req.end();
    // Half of them announce a length, the others are sent in chunks.
    else if (Number(id) % 2 === 0) req.end(uploadOf(id));
    else {
      req.write(uploadOf(id));
      req.end();
    }
  });
}

function judge(res: IncomingMessage, text: string, expected: string): Ended {
  const status = res.statusCode!;
  const code = res.headers["x-proxy-error"];
  if (code !== undefined) return judgeRefusal(String(code), status, text);
  if (status !== 200) return { outcome: `relayed:${status}` };
  if (text === expected) return { outcome: "served" };
  const isPart = expected.startsWith(text);
  const detail = isPart ? "a cut body with a clean end" : `not its response: ${JSON.stringify(text.slice(0, 60))}`;
  return { outcome: "wrong", detail };
}

/** The code must be in the catalog with this status, and the body must repeat it. */
function judgeRefusal(code: string, status: number, text: string): Ended {
  const entry = CATALOG[code as keyof typeof CATALOG];
  if (entry?.status !== status || !text.includes(`"code":"${code}"`)) {
    return {
      outcome: "wrong",
      detail: `a refusal that is not in the catalog: ${status} ${code} ${text.slice(0, 100)}`,
    };
  }
  return { outcome: `refused:${code}` };
}

/** Opens, sends its number, expects the echo, closes. */
const sendWebSocket: Send = ({ id, port, serviceKey }) => {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/proxy/${serviceKey}/socket/${id}`);
    const timer = setTimeout(() => end({ outcome: "hung", detail: "WebSocket" }), HUNG_MS);
    let isOpen = false;
    const end = (ended: Ended) => {
      clearTimeout(timer);
      resolve(ended);
      if (ended.outcome === "served") socket.close(1000);
      else socket.terminate();
    };
    socket.on("open", () => {
      isOpen = true;
      socket.send(id);
    });
    socket.on("message", (data) => {
      const isEcho = String(data) === id;
      end(
        isEcho
          ? { outcome: "served" }
          : { outcome: "wrong", detail: `WebSocket received ${String(data).slice(0, 60)}` },
      );
    });
    socket.on("unexpected-response", (_, res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      res.on("error", () => end({ outcome: "cut" }));
      res.on("end", () => end(judge(res, text, "")));
    });
    socket.on("close", (code) => end({ outcome: code === 1001 ? "closed with 1001" : isOpen ? "cut" : "dropped" }));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") end({ outcome: "not accepted" });
      else if (!isOpen) end(NO_RESPONSE);
    });
  });
};
