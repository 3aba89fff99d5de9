/** The response to CONNECT. */
import { describe, expect, test } from "vitest";
import { readConnectResponse } from "../../../src/data-plane/forward/connect-response.ts";

const read = (text: string) => readConnectResponse(Buffer.from(text, "latin1"));

describe("the response to CONNECT", () => {
  test.each([
    ["HTTP/1.1 200 Connection established\r\n\r\n", 200],
    ["HTTP/1.0 200\r\n\r\n", 200],
    ["HTTP/1.1 204 \r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n", 204],
    ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200],
    ["HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nbytes", 403],
  ])("%j is complete", (text, status) => {
    expect(read(text)).toMatchObject({ status });
    // Nothing is concluded from a part of it.
    if (status >= 300) return;
    for (let length = 0; length < text.length; length++) expect(read(text.slice(0, length))).toBe("incomplete");
  });

  test.each([
    "\x05\x00",
    "SSH-2.0-OpenSSH_9\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1 20\r\n\r\n",
    "HTTP/1.1 2000\r\n\r\n",
    "HTTP/1.1 +20 OK\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\ngarbage",
  ])("%j is malformed", (text) => expect(read(text)).toBe("malformed"));

  test("Bytes after the head are returned", () => {
    const text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\x00\xff";
    expect(read(text)).toEqual({ status: 200, schemes: [], rest: Buffer.from([0, 255]) });
  });

  test("A head that is too large is refused, also if it consists of interim responses", () => {
    expect(read(`HTTP/1.1 200 OK\r\nX: ${"a".repeat(20_000)}`)).toBe("too large");
    expect(read(`HTTP/1.1 200 OK\r\nX: ${"a".repeat(20_000)}\r\n\r\n`)).toBe("too large");
    expect(read("HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000))).toBe("too large");
  });

  test("The known ways to authenticate are listed", () => {
    const fields = "Proxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate, Evil <script>, basic realm=x";
    expect(read(`HTTP/1.1 407 No\r\n${fields}\r\n\r\n`)).toMatchObject({
      status: 407,
      schemes: ["Basic", "NTLM", "Negotiate"],
    });
  });
});
