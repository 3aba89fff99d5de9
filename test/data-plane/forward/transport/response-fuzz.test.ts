/**
 * Whatever an upstream sends, the response parser reports it in order, in bounded memory, and equally wherever it is cut.
 * `FUZZ_CASES` and `FUZZ_SEED` change the length and the cases of a run.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type ParsedResponse, ResponseParser } from "../../../../src/data-plane/forward/transport/response-parser.ts";
import { ResponseSyntaxError } from "../../../../src/data-plane/forward/transport/response-syntax-error.ts";
import { changedResponse, piecesOf } from "../../../support/http-responses.ts";

const CASES = Number(process.env.FUZZ_CASES ?? 2_000);
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_129);

/** All events of one response in order, the body joined, and the verdict. It throws for an event in the wrong order. */
class Recorder implements ParsedResponse {
  readonly events: unknown[] = [];
  body = "";
  /** The only event that may follow. */
  #phase: "head" | "body" | "over" = "head";

  onInterim(status: number, reason: string, headers: object): void {
    this.#expectPhase("head");
    this.events.push(["interim", status, reason, { ...headers }]);
  }

  onHead(status: number, reason: string, headers: object): void {
    this.#expectPhase("head");
    this.#phase = "body";
    this.events.push(["head", status, reason, { ...headers }]);
  }

  onBody(chunk: Buffer): void {
    this.#expectPhase("body");
    if (chunk.length === 0) throw new Error("a chunk without bytes");
    this.body += chunk.toString("latin1");
  }

  onEnd(trailers: object): void {
    this.#expectPhase("body");
    this.#phase = "over";
    this.events.push(["end", { ...trailers }]);
  }

  /** Nothing may follow. */
  close(): void {
    this.#phase = "over";
  }

  #expectPhase(phase: "head" | "body"): void {
    if (this.#phase !== phase) throw new Error(`an event of the ${phase} in the phase ${this.#phase}`);
  }
}

function read(method: string, pieces: readonly Buffer[]): string {
  const recorder = new Recorder();
  const parser = new ResponseParser(recorder);
  let verdict = "complete";
  try {
    parser.start(method);
    for (const piece of pieces) parser.push(piece);
    parser.end();
  } catch (error) {
    if (!(error instanceof ResponseSyntaxError)) throw error;
    verdict = error.code;
    recorder.close();
    expectNoMore(parser);
  }
  return JSON.stringify([recorder.events, recorder.body, verdict, parser.mayReuse]);
}

const MORE = ["x", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"].map((text) => Buffer.from(text));

function isAccepted(run: () => void): boolean {
  try {
    run();
    return true;
  } catch {
    return false;
  }
}

/** After an error the parser reports nothing, whatever it is given. */
function expectNoMore(parser: ResponseParser): void {
  for (const bytes of MORE) {
    if (isAccepted(() => parser.push(bytes))) throw new Error("bytes are read after an error");
  }
  if (isAccepted(() => parser.start("GET"))) throw new Error("a request is possible after an error");
  parser.end();
}

test("Any bytes give the same events in the same order wherever they are cut", { timeout: 600_000 }, () => {
  const property = fc.property(changedResponse, (sent) => {
    const bytes = Buffer.from(sent.text, "latin1");
    const whole = read(sent.method, bytes.length === 0 ? [] : [bytes]);
    const single = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));
    if (read(sent.method, piecesOf(sent)) !== whole || read(sent.method, single) !== whole) {
      expect([read(sent.method, piecesOf(sent)), read(sent.method, single)]).toEqual([whole, whole]);
    }
  });
  fc.assert(property, { numRuns: CASES, seed: SEED });
});

const HEAD = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/** One beginning for each state of the parser in which no body is read. */
const BEGINNINGS: readonly (readonly [state: string, bytes: string])[] = [
  ["before the status line", ""],
  ["in the status line", "HTTP/1.1 20"],
  ["in the reason", "HTTP/1.1 200 O"],
  ["in a name", `${HEAD}a`],
  ["in a value", `${HEAD}a: b`],
  ["after an interim response", "HTTP/1.1 100 Continue\r\n\r\n"],
  ["in a size", `${CHUNKED}`],
  ["in an extension", `${CHUNKED}1;a="`],
  ["after a size", `${CHUNKED}1\r`],
  ["after a chunk", `${CHUNKED}1\r\nx`],
  ["in a trailer", `${CHUNKED}0\r\na: b`],
  ["after the response", `${HEAD}Content-Length: 0\r\n\r\n`],
];

/** Of a head or of trailers; every other limit is lower. */
const LIMIT = 65_536;

test.each(BEGINNINGS)("Any byte that is repeated without end is refused within 64 KiB: %s", (_, beginning) => {
  const start = Buffer.from(beginning, "latin1");
  for (let byte = 0; byte < 256; byte++) {
    const parser = new ResponseParser({ onInterim() {}, onHead() {}, onBody() {}, onEnd() {} });
    parser.start("GET");
    parser.push(start);
    const piece = Buffer.alloc(1_024, byte);
    const pushAll = () => {
      for (let pushed = 0; pushed <= LIMIT; pushed += piece.length) parser.push(piece);
    };
    expect(pushAll, `byte ${byte}`).toThrow(ResponseSyntaxError);
  }
});
