/**
 * The response parser and the client of node:http read the same bytes, cut in the same places, and come to the same result. Every
 * difference that is intended is listed here with its reason. `FUZZ_CASES` and `FUZZ_SEED` change the length and the cases of a run.
 */
import { type IncomingMessage, request } from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { ResponseHeaders } from "../../../../src/data-plane/forward/transport/response-fields.ts";
import { ResponseParser } from "../../../../src/data-plane/forward/transport/response-parser.ts";
import { malformed, ResponseSyntaxError } from "../../../../src/data-plane/forward/transport/response-syntax-error.ts";
import { changedResponse, piecesOf, type SentResponse, validResponse } from "../../../support/http-responses.ts";

const CASES = Number(process.env.FUZZ_CASES ?? 400);
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_129);

interface Outcome {
  /** Status, reason and fields of each interim response. */
  readonly interims: string[];
  head: string | undefined;
  body: string;
  trailers: string | undefined;
  isComplete: boolean;
  /** Why it is not. */
  problem: string | undefined;
}

function newOutcome(): Outcome {
  return { interims: [], head: undefined, body: "", trailers: undefined, isComplete: false, problem: undefined };
}

const textOf = (fields: ResponseHeaders) => JSON.stringify(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));

function readWithOurs({ method, pieces }: { method: string; pieces: readonly Buffer[] }): Outcome {
  const outcome = newOutcome();
  const parser = new ResponseParser({
    onInterim: (status, reason, fields) => void outcome.interims.push(`${status} ${reason} ${textOf(fields)}`),
    onHead: (status, reason, fields) => {
      // As the connection does.
      if (status === 101) throw malformed("a 101 without an upgrade request");
      outcome.head = `${status} ${reason} ${textOf(fields)}`;
    },
    onBody: (chunk) => {
      outcome.body += chunk.toString("latin1");
    },
    onEnd: (trailers) => {
      outcome.trailers = textOf(trailers);
      outcome.isComplete = true;
    },
  });
  try {
    parser.start(method);
    for (const piece of pieces) parser.push(piece);
    parser.end();
  } catch (error) {
    if (!(error instanceof ResponseSyntaxError)) throw error;
    outcome.problem = error.message;
  }
  return outcome;
}

/** @param raw as node:http gives them: names and values in turn. */
function textOfRaw(raw: readonly string[]): string {
  const fields: ResponseHeaders = Object.create(null);
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase();
    const value = raw[at + 1] as string;
    const before = fields[name];
    fields[name] = before === undefined ? value : [before, value].flat();
  }
  return textOf(fields);
}

/** node:http on a stream that is no socket: the same parser and the same client, without a port for each response. */
async function readWithNode({ method, pieces }: { method: string; pieces: readonly Buffer[] }): Promise<Outcome> {
  const outcome = newOutcome();
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const sent = request({ method, createConnection: () => socket as never, maxHeaderSize: 65_536 });
  let response: IncomingMessage | undefined;
  sent.on("information", ({ statusCode, statusMessage, rawHeaders }) => {
    outcome.interims.push(`${statusCode} ${statusMessage} ${textOfRaw(rawHeaders)}`);
  });
  sent.on("response", (received) => {
    response = received;
    const { statusCode, statusMessage, rawHeaders } = received;
    outcome.head = `${statusCode} ${statusMessage} ${textOfRaw(rawHeaders)}`;
    received.setEncoding("latin1");
    received.on("data", (chunk: string) => {
      outcome.body += chunk;
    });
    received.on("error", () => {});
  });
  sent.on("error", (error) => {
    outcome.problem = error.message;
  });
  sent.end();
  const closed = new Promise((resolve) => sent.once("close", resolve));
  for (const piece of pieces) socket.push(piece);
  socket.push(null);
  await closed;
  if (response !== undefined && !response.closed) await new Promise((resolve) => response?.once("close", resolve));
  if (response?.complete) {
    outcome.isComplete = true;
    outcome.trailers = textOfRaw(response.rawTrailers);
  }
  return outcome;
}

type Difference = readonly [problem: RegExp, bytes: RegExp, reason: string];

/** What the parser refuses and node:http accepts: the parser's words, bytes that must then be there, and the reason (RFC 9112). */
const STRICTER: readonly Difference[] = [
  [
    /^it (begins with other bytes|does not begin with)/,
    /^[\r\n]|\r\n\r\n[\r\n]|HTTP\/(0\.9|2\.0)/,
    "Empty lines are skipped by servers only (RFC 9112 section 2.2), and other versions were not requested.",
  ],
  [
    /^the status is not a number/,
    /HTTP\/1\.[01] 0\d\d/,
    "The first digit of a status is its class, from 1 to 5 (RFC 9110 section 15); 6 to 9 are only relayed.",
  ],
  [/^NUL or LF in the reason/, /^HTTP\/1\.[01] \d{3} [^\r]*[\0\n]/m, "A reason has no control character (section 4)."],
  [/^the status line is invalid/, /\r(?!\n)/, "A bare CR is invalid or replaced (section 2.2), and here invalid."],
  [/^the connection ended inside a response/, /\r\r\n/, "CR CR LF is no empty line (section 2.2)."],
  [/^a line ends with LF alone/, /(?<!\r)\n/, "LF alone may end a line (section 2.2), but proxies disagree about it."],
  [
    /^Content-Length is too large/,
    /^content-length:[ \t]*\d{16,}/im,
    "A length that cannot be counted is an error (RFC 9110 section 8.6), also where no body follows.",
  ],
  [
    /^Transfer-Encoding is not chunked/,
    /^transfer-encoding:(?![ \t]*chunked[ \t]*\r\n)|transfer-encoding:[\s\S]*transfer-encoding:/im,
    "No other coding was requested, and no client could decode it (sections 6.1 and 6.3).",
  ],
  [
    /^a trailer about the message's framing/,
    /^(transfer-encoding|content-length):/im,
    "A trailer never says anything about framing (RFC 9110 section 6.5.1).",
  ],
  [
    /^an invalid character in the extension/,
    /^[0-9a-f]+(?=;)(?!(;[\w!#$%&'*+.^`|~-]+(=([\w!#$%&'*+.^`|~-]+|"([^"\\]|\\.)*"))?)*\r\n)/im,
    "An extension has a name, and a value after `=` (section 7.1.1).",
  ],
  [/^a 101 without an upgrade request/, /HTTP\/1\.[01] 101/, "Only an upgrade may be switched (RFC 9110 section 7.8)."],
];

/** What node:http refuses, in its words, and the parser accepts. */
const MORE_LENIENT: readonly Difference[] = [
  [
    /Connection: close/,
    /^HTTP\/1\.1 1\d\d .*\r\n([^\r]+\r\n)*connection:[^\r]*close|^HTTP\/1\.0 1\d\d/im,
    "The final response follows an interim one with `close`, too (RFC 9110 section 15.2), and then the connection is closed.",
  ],
  [
    /Content-Length/,
    /^content-length:[ \t]*\d+[ \t]*\t[ \t]*\r\n/im,
    "HTAB after a value is no part of it, like a space, which node:http accepts (RFC 9112 section 5, RFC 9110 section 5.6.3).",
  ],
];

type Comparison = "same" | "both failed" | "stricter" | "more lenient";

function compare(ours: Outcome, node: Outcome, text: string): Comparison {
  if (ours.isComplete && node.isComplete) {
    expect({ ...ours, problem: "" }).toEqual({ ...node, problem: "" });
    return "same";
  }
  if (!ours.isComplete && !node.isComplete) {
    if (ours.head !== undefined && node.head !== undefined) expect(ours.head).toBe(node.head);
    expect(ours.body.startsWith(node.body) || node.body.startsWith(ours.body)).toBe(true);
    return "both failed";
  }
  const [list, problem] = ours.isComplete ? [MORE_LENIENT, node.problem] : [STRICTER, ours.problem];
  if (!list.some(([words, bytes]) => words.test(problem ?? "") && bytes.test(text)))
    throw new Error(`not listed: ${JSON.stringify({ ours, node })}`);
  return ours.isComplete ? "more lenient" : "stricter";
}

async function compareAll(responses: fc.Arbitrary<SentResponse>): Promise<Record<Comparison, number>> {
  const counts = { same: 0, "both failed": 0, stricter: 0, "more lenient": 0 };
  const property = fc.asyncProperty(responses, async (sent) => {
    const read = { method: sent.method, pieces: piecesOf(sent) };
    counts[compare(readWithOurs(read), await readWithNode(read), sent.text)]++;
  });
  await fc.assert(property, { numRuns: CASES, seed: SEED });
  return counts;
}

test("A valid response is read as node:http reads it", { timeout: 600_000 }, async () => {
  expect(await compareAll(validResponse)).toEqual({ same: CASES, "both failed": 0, stricter: 0, "more lenient": 0 });
});

test("An invalid response is read as node:http reads it, or refused for a listed reason", {
  timeout: 600_000,
}, async () => {
  const counts = await compareAll(changedResponse);
  expect(Math.min(counts.same, counts["both failed"])).toBeGreaterThan(CASES / 10);
  expect(counts.stricter).toBeGreaterThan(CASES / 100);
});
