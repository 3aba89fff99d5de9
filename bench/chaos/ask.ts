/**
 * One request of each kind, and what became of it.
 * Invariant: it always comes to an end, at the latest after HUNG_MS, and only the very bytes that the upstream sent count as served.
 */
import { type Agent, type IncomingMessage, request } from "node:http";
import { WebSocket } from "ws";
import { CATALOG } from "../../src/errors.ts";
import { answerTo, uploadOf } from "./contents.ts";
import { HUNG_MS } from "./limits.ts";
import type { Ended } from "./tally.ts";

export interface Question {
  readonly id: string;
  readonly port: number;
  readonly serviceKey: string;
  readonly agent: Agent;
}

export type Ask = (question: Question) => Promise<Ended>;

/** Answered at once by a healthy upstream: its time says something. */
export function isPlain(index: number): boolean {
  return askOf(index) === askGet;
}

/** Of twenty requests: thirteen GET, four POST, a PUT that may be sent again, an event stream and a WebSocket. */
export function askOf(index: number): Ask {
  const place = index % 20;
  if (place === 7) return askEvents;
  if (place === 13) return askWebSocket;
  if (place === 17) return askPut;
  return place % 5 === 0 ? askPost : askGet;
}

const askGet: Ask = (question) => askHttp(question, "GET", `/item/${question.id}`);
const askPut: Ask = (question) => askHttp(question, "PUT", `/item/${question.id}`);
const askPost: Ask = (question) => askHttp(question, "POST", `/item/${question.id}`);
const askEvents: Ask = (question) => askHttp(question, "GET", `/events/${question.id}`);

const NO_WORD: Ended = { outcome: "dropped", detail: "the connection was closed without a word" };

function askHttp({ id, port, serviceKey, agent }: Question, method: string, path: string): Promise<Ended> {
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
    let isAnswered = false;
    req.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") end({ outcome: "not accepted" });
      // Behind an answer it is the upload that was not wanted to its end.
      else if (!isAnswered) end(NO_WORD);
    });
    req.on("response", (res: IncomingMessage) => {
      isAnswered = true;
      let text = "";
      res.setEncoding("latin1").on("data", (chunk: string) => {
        text += chunk;
      });
      res.on("error", () => end({ outcome: "cut" }));
      res.on("end", () => end(judge(res, text, answerTo(path))));
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
  const detail = isPart ? "a cut body that ended cleanly" : `not its answer: ${JSON.stringify(text.slice(0, 60))}`;
  return { outcome: "wrong", detail };
}

/** A code of the catalogue with its status, and the body says the same. */
function judgeRefusal(code: string, status: number, text: string): Ended {
  const entry = CATALOG[code as keyof typeof CATALOG];
  if (entry?.status !== status || !text.includes(`"code":"${code}"`)) {
    return {
      outcome: "wrong",
      detail: `a refusal that is not in the catalogue: ${status} ${code} ${text.slice(0, 100)}`,
    };
  }
  return { outcome: `refused:${code}` };
}

/** Opens, sends its number, hears it again, closes. */
const askWebSocket: Ask = ({ id, port, serviceKey }) => {
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
        isEcho ? { outcome: "served" } : { outcome: "wrong", detail: `WebSocket heard ${String(data).slice(0, 60)}` },
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
    socket.on("close", (code) => end({ outcome: code === 1001 ? "told 1001" : isOpen ? "cut" : "dropped" }));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") end({ outcome: "not accepted" });
      else if (!isOpen) end(NO_WORD);
    });
  });
};
