/** The response parser: every rule, with the bytes whole and cut at each offset. */
import { expect, test } from "vitest";
import { ResponseParser } from "../../../../src/data-plane/forward/transport/response-parser.ts";
import { ResponseSyntaxError } from "../../../../src/data-plane/forward/transport/response-syntax-error.ts";

/** What one response becomes: its events, with the body joined, and the verdict. */
function read(pieces: readonly Buffer[], method = "GET", ends = true): string {
  const events: unknown[] = [];
  let body = "";
  const parser = new ResponseParser({
    onInterim: (status, reason, headers) => events.push(["interim", status, reason, { ...headers }]),
    onHead: (status, reason, headers) => events.push(["head", status, reason, { ...headers }]),
    onBody: (chunk) => {
      body += chunk.toString("latin1");
    },
    onEnd: (trailers) => events.push(["end", { ...trailers }]),
  });
  let verdict = "open";
  try {
    parser.start(method);
    for (const piece of pieces) parser.push(piece);
    verdict = parser.mayReuse ? "reusable" : "open";
    if (ends) parser.end();
  } catch (error) {
    if (!(error instanceof ResponseSyntaxError)) throw error;
    verdict = error.code;
  }
  return JSON.stringify({ events, body, verdict });
}

function expectEverywhere(text: string, method: string, check: (result: string) => void): void {
  const bytes = Buffer.from(text, "latin1");
  const whole = read([bytes], method);
  check(whole);
  for (let at = 1; at < bytes.length; at++) {
    expect(read([bytes.subarray(0, at), bytes.subarray(at)], method), `cut at ${at}`).toBe(whole);
  }
  expect(
    read(
      Array.from(bytes, (byte) => Buffer.from([byte])),
      method,
    ),
    "single bytes",
  ).toBe(whole);
}

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

test.each<[string, string, string, string, string]>([
  ["a length", `${OK}Content-Length: 2\r\n\r\nok`, "GET", "ok", "reusable"],
  ["chunks", `${CHUNKED}2\r\nok\r\n0\r\n\r\n`, "GET", "ok", "reusable"],
  ["chunks with extensions", `${CHUNKED}2;a=b;c="\\"d";e\r\nok\r\n0;x\r\n\r\n`, "GET", "ok", "reusable"],
  ["chunks with padded sizes", `${CHUNKED}0002\r\nok\r\n000\r\n\r\n`, "GET", "ok", "reusable"],
  ["trailers", `${CHUNKED}2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n`, "GET", "ok", "reusable"],
  ["a body until the end", `${OK}\r\nok`, "GET", "ok", "open"],
  ["Connection: close", `${OK}Connection: x, Close\r\nContent-Length: 2\r\n\r\nok`, "GET", "ok", "open"],
  ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", "ok", "open"],
  [
    "HTTP/1.0 with keep-alive",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "GET",
    "ok",
    "reusable",
  ],
  [
    "HTTP/1.0 with chunks",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "GET",
    "ok",
    "open",
  ],
  ["no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "GET", "ok", "reusable"],
  ["an empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "GET", "ok", "reusable"],
  [
    "interim responses",
    `HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    "GET",
    "ok",
    "reusable",
  ],
  ["HEAD with a length", `${OK}Content-Length: 2\r\n\r\n`, "HEAD", "", "reusable"],
  ["HEAD with chunks", CHUNKED, "HEAD", "", "reusable"],
  ["304 with a length", "HTTP/1.1 304 N\r\nContent-Length: 2\r\n\r\n", "GET", "", "reusable"],
  ["204 with a length", "HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\n", "GET", "", "open"],
  ["a field named __proto__", `${OK}__proto__: x\r\nContent-Length: 0\r\n\r\n`, "GET", "", "reusable"],
])("A valid response is read wherever its bytes are cut: %s", (_, text, method, body, verdict) => {
  expectEverywhere(text, method, (result) => expect(JSON.parse(result)).toMatchObject({ body, verdict }));
});

const MALFORMED = "UPSTREAM_MALFORMED";
const OVERFLOW = "UPSTREAM_HEADERS_OVERFLOW";
const CUT = "UPSTREAM_CUT";

test.each<[string, string, string]>([
  ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n", MALFORMED],
  ["HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", MALFORMED],
  ["status 099", "HTTP/1.1 099 X\r\n\r\n", MALFORMED],
  ["status 1000", "HTTP/1.1 1000 X\r\n\r\n", MALFORMED],
  ["an empty line first", `\r\n${OK}\r\n`, MALFORMED],
  ["NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n", MALFORMED],
  ["bare LF", `HTTP/1.1 200 OK\nA: b\n\nok`, MALFORMED],
  ["bare CR in a value", `${OK}A: b\rc\r\n\r\n`, MALFORMED],
  ["a fold", `${OK}A: b\r\n c\r\n\r\n`, MALFORMED],
  ["NUL in a value", `${OK}A: b\0\r\n\r\n`, MALFORMED],
  ["a space before the colon", `${OK}A : b\r\n\r\n`, MALFORMED],
  ["no colon", `${OK}Ab\r\nC: d\r\n\r\n`, MALFORMED],
  ["no name", `${OK}: b\r\n\r\n`, MALFORMED],
  ["a length and chunks", `${OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n`, MALFORMED],
  ["two lengths", `${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok`, MALFORMED],
  ["a list of lengths", `${OK}Content-Length: 1, 1\r\n\r\nx`, MALFORMED],
  ["a signed length", `${OK}Content-Length: +1\r\n\r\nx`, MALFORMED],
  ["an empty length", `${OK}Content-Length:\r\n\r\nx`, MALFORMED],
  ["a length above 2^53-1", `${OK}Content-Length: 9007199254740992\r\n\r\nx`, MALFORMED],
  ["another coding", `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`, MALFORMED],
  ["chunked twice", `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, MALFORMED],
  ["a chunk without a size", `${CHUNKED};a\r\n`, MALFORMED],
  ["a signed size", `${CHUNKED}+2\r\nok\r\n`, MALFORMED],
  ["a space after the size", `${CHUNKED}2 \r\nok\r\n`, MALFORMED],
  ["a size above 2^53-1", `${CHUNKED}20000000000000\r\n`, MALFORMED],
  ["a size of 17 digits", `${CHUNKED}00000000000000002\r\n`, MALFORMED],
  ["LF after the size", `${CHUNKED}2\nok\r\n`, MALFORMED],
  ["a chunk that is too long", `${CHUNKED}2\r\nokk\r\n`, MALFORMED],
  ["CR in an extension", `${CHUNKED}2;a="\r"\r\nok\r\n`, MALFORMED],
  ["a length in the trailers", `${CHUNKED}0\r\nContent-Length: 2\r\n\r\n`, MALFORMED],
  ["bytes after the response", `${OK}Content-Length: 2\r\n\r\nokx`, MALFORMED],
  ["a cut head", `${OK}Content-Le`, CUT],
  ["a cut length", `${OK}Content-Length: 2\r\n\r\no`, CUT],
  ["a cut chunk", `${CHUNKED}2\r\nok\r\n`, CUT],
  ["no response", "", CUT],
])("A response in doubt is refused wherever its bytes are cut: %s", (_, text, code) => {
  expectEverywhere(text, "GET", (result) => expect(JSON.parse(result)).toMatchObject({ verdict: code }));
});

test.each<[string, string, string]>([
  ["a head of 64 KiB", `${OK}A: ${"a".repeat(65_536 - 24)}\r\n\r\n`, "open"],
  ["a head above 64 KiB", `${OK}A: ${"a".repeat(65_536 - 23)}\r\n\r\n`, OVERFLOW],
  ["10,000 fields", `${OK}${"A:b\r\n".repeat(10_000)}\r\n`, "open"],
  ["10,001 fields", `${OK}${"A:b\r\n".repeat(10_001)}\r\n`, OVERFLOW],
  ["trailers above 64 KiB", `${CHUNKED}0\r\nA: ${"a".repeat(65_536)}\r\n\r\n`, OVERFLOW],
  ["extensions of 16 KiB", `${CHUNKED}1;${"a".repeat(16_383)}\r\nx\r\n0\r\n\r\n`, "reusable"],
  ["extensions above 16 KiB", `${CHUNKED}1;${"a".repeat(16_384)}\r\nx\r\n0\r\n\r\n`, OVERFLOW],
  ["extensions of many chunks", `${CHUNKED}${`1;${"a".repeat(99)}\r\nx\r\n`.repeat(500)}0\r\n\r\n`, "reusable"],
])("A response is limited, in one piece and in single bytes: %s", (_, text, verdict) => {
  const bytes = Buffer.from(text, "latin1");
  expect(JSON.parse(read([bytes])).verdict).toBe(verdict);
  expect(JSON.parse(read(Array.from(bytes, (byte) => Buffer.from([byte])))).verdict).toBe(verdict);
});

test("The bytes after a 101 are returned, and the connection is not reusable", () => {
  const heads: number[] = [];
  const ignore = () => {};
  const parser = new ResponseParser({ onInterim: ignore, onHead: (s) => heads.push(s), onBody: ignore, onEnd: ignore });
  parser.start("GET");
  const rest = parser.push(Buffer.from("HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n\x81\x00", "latin1"));
  expect([heads, rest?.toString("latin1"), parser.mayReuse]).toEqual([[101], "\x81\x00", false]);
});

test("Bytes without a request are refused", () => {
  const ignore = () => {};
  const parser = new ResponseParser({ onInterim: ignore, onHead: ignore, onBody: ignore, onEnd: ignore });
  expect(() => parser.push(Buffer.from("x"))).toThrow(ResponseSyntaxError);
});
