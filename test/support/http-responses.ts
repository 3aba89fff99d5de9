/** HTTP/1.1 responses as bytes, for property tests: valid ones, and ones that are changed in every way that matters for framing. */
import fc from "fast-check";

export interface SentResponse {
  /** Of the request that the response belongs to. */
  readonly method: "GET" | "HEAD" | "POST";
  /** latin1; the connection ends after it. */
  readonly text: string;
  /** Where the text is cut, each from 0 to 1. */
  readonly cuts: readonly number[];
}

const NAMES = ["X-A", "x-a", "ETag", "Set-Cookie", "Link", "Server", "__proto__", "!#$%&'*+-.^_`|~9z"];
const VALUES = ["", "b", "a, b", "a=b; c", "caf\xe9\xff", "a\tb", '"quoted"', "chunked", "0"];
const REASONS = ["OK", "", "Very Well", "caf\xe9", "a\tb"];
const STATUSES = [200, 200, 200, 201, 204, 205, 206, 302, 304, 404, 413, 500, 599, 999];
const CONNECTIONS = ["", "", "", "Connection: close\r\n", "connection: Keep-Alive\r\n", "Connection: x, Close\r\n"];
const EXTENSIONS = ["", "", "", ";a", ";a=b", ';a=b;c="d\\"e"'];
const INTERIMS = [
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n",
];

/** fc.double would choose almost only numbers close to 0. */
const position = fc.noBias(fc.integer({ min: 0, max: 9_999 })).map((at) => at / 10_000);
const field = fc
  .tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES), fc.constantFrom("", " ", "\t "))
  .map(([name, value, space]) => `${name}:${space}${value}${space}\r\n`);
const method = fc.constantFrom<SentResponse["method"]>("GET", "GET", "GET", "HEAD", "POST");
const cutPositions = fc.array(position, { maxLength: 5 });

const parts = fc.record({
  method,
  isHttp10: fc.constantFrom(false, false, false, true),
  status: fc.constantFrom(...STATUSES),
  reason: fc.constantFrom(...REASONS),
  interims: fc.array(fc.constantFrom(...INTERIMS), { maxLength: 2 }),
  fields: fc.array(field, { maxLength: 4 }),
  connection: fc.constantFrom(...CONNECTIONS),
  framing: fc.constantFrom<"length" | "chunks" | "close">("length", "length", "chunks", "chunks", "close"),
  body: fc.array(fc.string({ unit: "binary-ascii", maxLength: 12 }), { maxLength: 4 }),
  extension: fc.constantFrom(...EXTENSIONS),
  trailers: fc.array(field, { maxLength: 2 }),
});

type Parts = typeof parts extends fc.Arbitrary<infer Value> ? Value : never;

function framingField({ framing, body }: Parts): string {
  if (framing === "chunks") return "Transfer-Encoding: chunked\r\n";
  return framing === "length" ? `Content-Length: ${body.join("").length}\r\n` : "";
}

function bodyText({ framing, body, extension, trailers }: Parts): string {
  if (framing !== "chunks") return body.join("");
  const chunks = body.filter((chunk) => chunk !== "");
  const lines = chunks.map((chunk) => `${chunk.length.toString(16)}${extension}\r\n${chunk}\r\n`);
  return `${lines.join("")}0${extension}\r\n${trailers.join("")}\r\n`;
}

function render(made: Parts): string {
  const { isHttp10, status, reason, interims, fields, connection } = made;
  // HTTP/1.0 has no chunks, and a 204 has no framing field.
  const of: Parts = isHttp10 && made.framing === "chunks" ? { ...made, framing: "length" } : made;
  const framing = status === 204 ? "" : framingField(of);
  const hasBody = made.method !== "HEAD" && status !== 204 && status !== 304;
  const [first = "", ...others] = fields;
  const head = `HTTP/1.${isHttp10 ? 0 : 1} ${status} ${reason}\r\n${first}${framing}${others.join("")}${connection}\r\n`;
  return `${interims.join("")}${head}${hasBody ? bodyText(of) : ""}`;
}

export const validResponse: fc.Arbitrary<SentResponse> = fc
  .tuple(parts, cutPositions)
  .map(([made, cuts]) => ({ method: made.method, text: render(made), cuts }));

/** What is inserted: the bytes that recipients disagree about. */
const TOKENS = [
  ...[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    "\x7f",
    "\x01",
    ":",
    ";",
    ",",
    "=",
    '"',
    "\\",
    "0",
    "00",
    "1",
    "f",
    "+",
    "-",
  ],
  ...[
    "\r\n\r\n",
    "\n\n",
    "\r\r\n",
    "\r\n ",
    "\r\n\t",
    "0\r\n\r\n",
    "0\r\n",
    "1\r\nx\r\n",
    "5;\r\n",
    "0x",
    "\xa0",
    "a:\r\n",
  ],
  ...["Content-Length: 3\r\n", "Content-Length: 0\r\n", "content-length : 3\r\n", "Content-Length: 3, 3\r\n"],
  ...[
    "Content-Length: +3\r\n",
    "Content-Length:\r\n",
    "Content-Length: 03\r\n",
    "Content-Length: 9007199254740993\r\n",
  ],
  ...["Transfer-Encoding: chunked\r\n", "Transfer-Encoding: Chunked \r\n", "Transfer-Encoding: gzip, chunked\r\n"],
  ...["Transfer-Encoding: identity\r\n", "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding:\r\n"],
  ...[
    "Connection: close\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Trailer: x\r\n",
    "Keep-Alive: timeout=5\r\n",
  ],
  ...["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 C\r\n\r\n", "HTTP/1.1 101 S\r\n\r\n", "HTTP/1.1 204 N\r\n\r\n", "HTTP/"],
  ...[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 103 E\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.0 200 OK\r\n",
  ],
];

interface Change {
  readonly kind:
    | "flip"
    | "insert"
    | "insertLine"
    | "remove"
    | "repeat"
    | "repeatLine"
    | "removeLine"
    | "cut"
    | "append";
  readonly at: number;
  readonly length: number;
  readonly bits: number;
  readonly token: string;
}

const change: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom<Change["kind"]>(
    ...(["flip", "flip", "insert", "insert", "insertLine", "insertLine", "remove", "repeat"] as const),
    ...(["repeatLine", "removeLine", "cut", "append"] as const),
  ),
  at: position,
  length: fc.integer({ min: 1, max: 12 }),
  bits: fc.integer({ min: 1, max: 255 }),
  token: fc.constantFrom(...TOKENS),
});

function apply(text: string, { kind, at, length, bits, token }: Change): string {
  const index = Math.floor(at * text.length);
  // Where a line begins and where the next one does.
  const lineStart = text.lastIndexOf("\r\n", index) < 0 ? 0 : text.lastIndexOf("\r\n", index) + 2;
  const lineEnd = text.indexOf("\r\n", lineStart) < 0 ? text.length : text.indexOf("\r\n", lineStart) + 2;
  const splice = (from: number, to: number, put: string) => text.slice(0, from) + put + text.slice(to);
  switch (kind) {
    case "flip":
      return splice(index, index + 1, String.fromCharCode(text.charCodeAt(Math.min(index, text.length - 1)) ^ bits));
    case "insert":
      return splice(index, index, token);
    case "insertLine":
      return splice(lineStart, lineStart, token);
    case "remove":
      return splice(index, index + length, "");
    case "repeat":
      return splice(index, index, text.slice(index, index + length));
    case "repeatLine":
      return splice(lineStart, lineStart, text.slice(lineStart, lineEnd));
    case "removeLine":
      return splice(lineStart, lineEnd, "");
    case "cut":
      return text.slice(0, index);
    case "append":
      return text + token;
  }
}

export const changedResponse: fc.Arbitrary<SentResponse> = fc
  .tuple(validResponse, fc.array(change, { minLength: 1, maxLength: 3 }))
  .map(([sent, changes]) => ({
    ...sent,
    text: changes.reduce((text, each) => (text === "" ? text : apply(text, each)), sent.text),
  }));

/** The text as bytes, cut in pieces. */
export function piecesOf({ text, cuts }: SentResponse): Buffer[] {
  const bytes = Buffer.from(text, "latin1");
  const ends = [...cuts.map((at) => Math.floor(at * bytes.length)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return ends.flatMap((end) => {
    const piece = bytes.subarray(from, end);
    from = end;
    return piece.length === 0 ? [] : [piece];
  });
}
